/**
 * crc64: the ISO 3309 polynomial as Go's hash/crc64 has it, eight bytes a step ("slicing-by-8").
 */
#include <array>

#include "napi-helpers.h"
#include "syscalls.h"

namespace plyfs {
namespace {

/** Reflected. */
constexpr uint64_t kPolynomial = 0xD800000000000000;

using Table = std::array<std::array<uint64_t, 256>, 8>;

/** `[0][b]`: the remainder of one byte; `[n][b]`: of that byte with n zero bytes after it. */
constexpr Table MakeTable() {
  Table table{};
  for (uint64_t byte = 0; byte < 256; byte++) {
    uint64_t crc = byte;
    for (int bit = 0; bit < 8; bit++) crc = (crc & 1) != 0 ? (crc >> 1) ^ kPolynomial : crc >> 1;
    table[0][byte] = crc;
  }
  for (size_t byte = 0; byte < 256; byte++) {
    for (size_t n = 1; n < 8; n++) {
      const uint64_t crc = table[n - 1][byte];
      table[n][byte] = table[0][crc & 0xff] ^ (crc >> 8);
    }
  }
  return table;
}

constexpr Table kTable = MakeTable();

uint64_t LoadLittleEndian(const uint8_t* bytes) {
  uint64_t value;
  memcpy(&value, bytes, sizeof value);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  value = __builtin_bswap64(value);
#endif
  return value;
}

uint64_t Update(uint64_t crc, const uint8_t* bytes, size_t length) {
  crc = ~crc;
  for (; length >= 8; bytes += 8, length -= 8) {
    crc ^= LoadLittleEndian(bytes);
    crc = kTable[7][crc & 0xff] ^ kTable[6][(crc >> 8) & 0xff] ^ kTable[5][(crc >> 16) & 0xff] ^
          kTable[4][(crc >> 24) & 0xff] ^ kTable[3][(crc >> 32) & 0xff] ^
          kTable[2][(crc >> 40) & 0xff] ^ kTable[1][(crc >> 48) & 0xff] ^ kTable[0][crc >> 56];
  }
  for (; length > 0; bytes++, length--) crc = kTable[0][(crc ^ *bytes) & 0xff] ^ (crc >> 8);
  return ~crc;
}

constexpr size_t kStateBytes = 8;

napi_value Crc64(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  const Bytes state = args.Buffer(0);
  const Bytes bytes = args.Buffer(1);
  if (!args.Failed() && state.length < kStateBytes) args.TooSmall(0, "8 bytes");
  if (args.Failed()) return args.Failure();
  uint64_t crc = 0;
  for (size_t i = 0; i < kStateBytes; i++) crc = crc << 8 | state.data[i];
  crc = Update(crc, bytes.data, bytes.length);
  for (size_t i = kStateBytes; i-- > 0; crc >>= 8) state.data[i] = static_cast<uint8_t>(crc);
  return args.Value(0);
}

constexpr Function kFunctions[] = {{"crc64", Crc64}};

}  // namespace

void RegisterCrc64(napi_env env, napi_value object) { Register(env, object, kFunctions); }

}  // namespace plyfs
