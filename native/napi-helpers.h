/**
 * Reading arguments and returning results, for every function that JavaScript calls.
 *
 * A function reads all its arguments, asks `Failed()` once, and returns `Failure()` if so: either
 * an exception is pending then (TypeError for a wrong type, RangeError for a buffer that is too
 * small), or the result is `-errno` (a string too long or with a NUL). Readers return zeros after a
 * failure, never memory that was not written.
 *
 *   napi_value Mkdirat(napi_env env, napi_callback_info info) {
 *     Args<3> args(env, info);
 *     const int dirfd = args.Int(0);
 *     const Path name(args, 1);
 *     const mode_t mode = args.Uint(2);
 *     if (args.Failed()) return args.Failure();
 *     return args.Result(mkdirat(dirfd, name.c_str(), mode));
 *   }
 *
 * Functions are registered from a table by `Register`, which stores the name as the callback's data
 * for messages; a class that wraps an instance keeps it in `this` (`napi_wrap`, `Args::This`).
 */
#pragma once

#include <errno.h>
#include <limits.h>
#include <node_api.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

namespace plyfs {

/** A number as JavaScript's; exact within 2^53. */
inline napi_value Number(napi_env env, int64_t value) {
  napi_value result = nullptr;
  if (value >= INT32_MIN && value <= INT32_MAX) {
    napi_create_int32(env, static_cast<int32_t>(value), &result);
  } else {
    napi_create_double(env, static_cast<double>(value), &result);
  }
  return result;
}

inline napi_value Undefined(napi_env env) {
  napi_value result = nullptr;
  napi_get_undefined(env, &result);
  return result;
}

/**
 * The bytes of a Uint8Array: valid until JavaScript runs again. `data` is null for JavaScript's
 * null (and after a failure) only.
 */
struct Bytes {
  uint8_t* data;
  size_t length;
};

/** The elements of a Float64Array. */
struct Doubles {
  double* data;
  size_t length;
};

class ArgumentReader {
 public:
  ArgumentReader(const ArgumentReader&) = delete;
  ArgumentReader& operator=(const ArgumentReader&) = delete;

  napi_env env() const { return env_; }
  napi_value This() const { return this_; }
  napi_value At(size_t index) const { return values_[index]; }

  /** NaN and infinities read as 0, fractions are cut off, larger numbers keep their low 32 bits. */
  int32_t Int(size_t index) {
    int32_t value = 0;
    if (!failed_ && napi_get_value_int32(env_, values_[index], &value) != napi_ok)
      WrongType(index, "a number");
    return value;
  }

  uint32_t Uint(size_t index) {
    uint32_t value = 0;
    if (!failed_ && napi_get_value_uint32(env_, values_[index], &value) != napi_ok)
      WrongType(index, "a number");
    return value;
  }

  int64_t Int64(size_t index) {
    int64_t value = 0;
    if (!failed_ && napi_get_value_int64(env_, values_[index], &value) != napi_ok)
      WrongType(index, "a number");
    return value;
  }

  bool Bool(size_t index) {
    bool value = false;
    if (!failed_ && napi_get_value_bool(env_, values_[index], &value) != napi_ok)
      WrongType(index, "a boolean");
    return value;
  }

  Bytes Buffer(size_t index) {
    Bytes bytes{nullptr, 0};
    void* data = nullptr;
    if (!failed_ && TypedArray(index, napi_uint8_array, "a Uint8Array", &data, &bytes.length)) {
      bytes.data = static_cast<uint8_t*>(data);
    }
    return bytes;
  }

  /** `{nullptr, 0}` for null. */
  Bytes BufferOrNull(size_t index) {
    napi_valuetype type = napi_undefined;
    if (!failed_ && napi_typeof(env_, values_[index], &type) == napi_ok && type == napi_null)
      return Bytes{nullptr, 0};
    return Buffer(index);
  }

  Doubles Float64s(size_t index) {
    Doubles doubles{nullptr, 0};
    void* data = nullptr;
    if (!failed_ &&
        TypedArray(index, napi_float64_array, "a Float64Array", &data, &doubles.length)) {
      doubles.data = static_cast<double*>(data);
    }
    return doubles;
  }

  /**
   * A byte string, NUL-terminated, into `capacity` bytes; returns its length. Longer than
   * `capacity - 2` bytes fails with -ENAMETOOLONG, a NUL inside with -EINVAL.
   */
  size_t String(size_t index, char* buffer, size_t capacity) {
    buffer[0] = '\0';
    if (failed_) return 0;
    return StringValue(values_[index], index, buffer, capacity);
  }

  /** As `String`, of any value; `index` is the argument to blame. */
  size_t StringValue(napi_value value, size_t index, char* buffer, size_t capacity) {
    size_t length = 0;
    if (napi_get_value_string_latin1(env_, value, buffer, capacity, &length) != napi_ok) {
      buffer[0] = '\0';
      WrongType(index, "a byte string");
      return 0;
    }
    // A longer string was cut to capacity - 1 bytes.
    const int error = length + 1 >= capacity                 ? ENAMETOOLONG
                      : memchr(buffer, 0, length) != nullptr ? EINVAL
                                                             : 0;
    if (error == 0) return length;
    buffer[0] = '\0';
    Fail(error);
    return 0;
  }

  /** Makes the call return `-error` without being carried out. */
  void Fail(int error) {
    if (failed_) return;
    failed_ = true;
    error_ = error;
  }

  /**
   * Forgets a failure of `Fail` (not a pending exception) and returns its errno; 0 when there is
   * none.
   */
  int TakeError() {
    if (!failed_ || thrown_) return 0;
    failed_ = false;
    return error_;
  }

  void WrongType(size_t index, const char* expected) {
    char message[160];
    snprintf(message, sizeof message, "%s: argument %zu must be %s.", name_, index + 1, expected);
    Throw(napi_throw_type_error, "ERR_INVALID_ARG_TYPE", message);
  }

  void TooSmall(size_t index, const char* expected) {
    char message[160];
    snprintf(message, sizeof message, "%s: argument %zu must have room for %s.", name_, index + 1,
             expected);
    Throw(napi_throw_range_error, "ERR_OUT_OF_RANGE", message);
  }

  bool Failed() const { return failed_; }
  bool Thrown() const { return thrown_; }
  napi_value Failure() const { return thrown_ ? nullptr : Number(env_, -error_); }

  /** What a system call returned: the value, or `-errno` for -1. */
  napi_value Result(int64_t result) const { return Number(env_, result < 0 ? -errno : result); }
  /** A value, or `-errno` already. */
  napi_value Value(int64_t value) const { return Number(env_, value); }

 protected:
  ArgumentReader(napi_env env, napi_callback_info info, napi_value* values, size_t count)
      : env_(env), values_(values) {
    void* data = nullptr;
    // Arguments that the caller left out are filled with undefined.
    if (napi_get_cb_info(env, info, &count, values, &this_, &data) != napi_ok) Fail(EINVAL);
    if (data != nullptr) name_ = static_cast<const char*>(data);
  }

 private:
  bool TypedArray(size_t index, napi_typedarray_type expected, const char* description, void** data,
                  size_t* length) {
    napi_typedarray_type type = napi_int8_array;
    if (napi_get_typedarray_info(env_, values_[index], &type, length, data, nullptr, nullptr) ==
            napi_ok &&
        type == expected) {
      if (*data == nullptr) {
        // Empty, or transferred away. The C library declares its buffers non-null, also for a
        // length of 0.
        static double nothing = 0;
        *data = &nothing;
        *length = 0;
      }
      return true;
    }
    *data = nullptr;
    *length = 0;
    WrongType(index, description);
    return false;
  }

  void Throw(napi_status (*thrower)(napi_env, const char*, const char*), const char* code,
             const char* message) {
    if (thrown_) return;
    failed_ = true;
    thrown_ = true;
    thrower(env_, code, message);
  }

  napi_env env_;
  napi_value* values_;
  napi_value this_ = nullptr;
  const char* name_ = "native call";
  bool failed_ = false;
  bool thrown_ = false;
  int error_ = 0;
};

template <size_t Count>
struct ArgumentStorage {
  napi_value storage_[Count] = {};
};

/** The first `Count` arguments of a call. */
template <size_t Count>
class Args : private ArgumentStorage<Count>, public ArgumentReader {
 public:
  Args(napi_env env, napi_callback_info info) : ArgumentReader(env, info, this->storage_, Count) {}
};

/**
 * A path, name, link target or xattr name on the stack. PATH_MAX counts the NUL: PATH_MAX - 1 bytes
 * at most.
 */
class Path {
 public:
  Path(ArgumentReader& args, size_t index) : length_(args.String(index, bytes_, sizeof bytes_)) {}
  Path(const Path&) = delete;
  Path& operator=(const Path&) = delete;

  const char* c_str() const { return bytes_; }
  size_t length() const { return length_; }
  bool empty() const { return length_ == 0; }

 private:
  char bytes_[PATH_MAX + 1];
  size_t length_;
};

struct Function {
  /** Static storage: it lives as long as the function. */
  const char* name;
  napi_callback callback;
};

/** Makes the table's functions properties of `object`. */
template <size_t Count>
void Register(napi_env env, napi_value object, const Function (&table)[Count]) {
  for (const Function& function : table) {
    napi_value value = nullptr;
    if (napi_create_function(env, function.name, NAPI_AUTO_LENGTH, function.callback,
                             const_cast<char*>(function.name), &value) != napi_ok ||
        napi_set_named_property(env, object, function.name, value) != napi_ok) {
      return;
    }
  }
}

}  // namespace plyfs
