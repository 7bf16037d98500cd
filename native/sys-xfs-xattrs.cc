/**
 * Names of extended attributes beyond what listxattr(2) returns. XFS stores any number of them;
 * its own list (ioctl_xfs_attrlist_by_handle; fs/xfs/xfs_handle.c, xfs_ioc_attr_list) has a cursor.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <memory>

#include "fault-plan.h"
#include "napi-helpers.h"
#include "owned-fd.h"
#include "syscalls.h"

namespace plyfs {
namespace {

/** fs/xfs/libxfs/xfs_fs.h, which linux/ has no copy of: struct xfs_handle with its fid. */
struct XfsHandle {
  uint32_t file_system[2];
  /** Of what follows. */
  uint16_t length;
  uint16_t padding;
  uint32_t generation;
  uint64_t inode;
};
static_assert(sizeof(XfsHandle) == 24, "struct xfs_handle");

/** struct xfs_fsop_handlereq. */
struct HandleRequest {
  uint32_t fd;
  const char* path;
  uint32_t open_flags;
  const XfsHandle* handle;
  uint32_t handle_length;
  void* answer;
  uint32_t* answer_length;
};

/** struct xfs_fsop_attrlist_handlereq. */
struct ListRequest {
  HandleRequest file;
  uint32_t cursor[4];
  uint32_t flags;
  uint32_t length;
  void* buffer;
};
#define PLYFS_XFS_IOC_ATTRLIST_BY_HANDLE _IOW('X', 122, ListRequest)

/** XFS_XATTR_LIST_MAX: what the kernel takes at most. */
constexpr size_t kPage = 65536;

/** struct xfs_attrlist, its offsets behind it, and struct xfs_attrlist_ent where they lead. */
struct Page {
  int32_t count;
  int32_t more;
  int32_t offsets[kPage / 4 - 2];

  const char* Name(int32_t index) const {
    return reinterpret_cast<const char*>(this) + offsets[index] + sizeof(uint32_t);
  }
};
static_assert(sizeof(Page) == kPage, "as long as the kernel is told");

struct Namespace {
  /** XFS_IOC_ATTR_ROOT, XFS_IOC_ATTR_SECURE. */
  uint32_t flag;
  const char* prefix;
};
constexpr Namespace kNamespaces[] = {{0, "user."}, {2, "trusted."}, {8, "security."}};

/** ACLs are stored under names of their own, and listxattr(2) returns both (fs/xfs/xfs_xattr.c). */
struct StoredAcl {
  const char* stored;
  const char* name;
};
constexpr StoredAcl kAcls[] = {
    {"trusted.SGI_ACL_FILE", "system.posix_acl_access"},
    {"trusted.SGI_ACL_DEFAULT", "system.posix_acl_default"},
};

/** Adds NUL-terminated names to a buffer that may be too small. */
class NameList {
 public:
  explicit NameList(Bytes room) : room_(room) {}

  bool Add(const char* prefix, const char* name) {
    const size_t first = strlen(prefix);
    const size_t second = strlen(name) + 1;
    if (room_.length - length_ < first + second) return false;
    memcpy(room_.data + length_, prefix, first);
    memcpy(room_.data + length_ + first, name, second);
    const char* const added = reinterpret_cast<const char*>(room_.data + length_);
    length_ += first + second;
    for (const StoredAcl& acl : kAcls) {
      if (strcmp(added, acl.stored) == 0) return Add("", acl.name);
    }
    return true;
  }

  int64_t length() const { return static_cast<int64_t>(length_); }

 private:
  Bytes room_;
  size_t length_ = 0;
};

/**
 * The handle of what the O_PATH descriptor `file` refers to; false, with errno, where it is not on
 * the XFS of `directory`, in whose mount the kernel resolves the handle by inode number alone.
 */
bool HandleOf(int file, int directory, XfsHandle& handle) {
  struct statfs system;
  struct stat in;
  struct stat of;
  if (fstatfs(file, &system) < 0 || fstat(file, &of) < 0 || fstat(directory, &in) < 0) return false;
  if (system.f_type != XFS_SUPER_MAGIC || of.st_dev != in.st_dev) {
    errno = EOPNOTSUPP;
    return false;
  }
  // FILEID_INO32_GEN, and the same with a 64-bit inode number (fs/xfs/xfs_export.h): the generation
  // is what comes after the number.
  union {
    file_handle head;
    uint8_t bytes[sizeof(file_handle) + 128];
  } exported{};
  exported.head.handle_bytes = 128;
  int mount;
  if (name_to_handle_at(file, "", &exported.head, &mount, AT_EMPTY_PATH) < 0) return false;
  const size_t number = exported.head.handle_type == 0x81 ? 8 : 4;
  handle = XfsHandle{};
  handle.length = sizeof handle - offsetof(XfsHandle, padding);
  memcpy(&handle.generation, exported.head.f_handle + number, sizeof handle.generation);
  handle.inode = of.st_ino;
  return true;
}

/** The length of the list, or -1 with errno. */
int64_t List(int dirfd, const Path& name, Bytes room) {
  const OwnedFd directory(openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const OwnedFd file(
      openat(dirfd, name.empty() ? "." : name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  XfsHandle handle;
  if (directory.get() < 0 || file.get() < 0 || !HandleOf(file.get(), directory.get(), handle))
    return -1;
  NameList names(room);
  const std::unique_ptr<Page> page(new Page);
  for (const Namespace& space : kNamespaces) {
    ListRequest request{};
    request.file.handle = &handle;
    request.file.handle_length = sizeof handle;
    request.flags = space.flag;
    request.length = sizeof(Page);
    request.buffer = page.get();
    do {
      if (ioctl(directory.get(), PLYFS_XFS_IOC_ATTRLIST_BY_HANDLE, &request) < 0) return -1;
      for (int32_t i = 0; i < page->count; i++) {
        if (names.Add(space.prefix, page->Name(i))) continue;
        errno = E2BIG;
        return -1;
      }
    } while (page->more != 0);
  }
  return names.length();
}

/** xfsListxattrat of src/sys/syscalls.ts. */
napi_value XfsListxattrat(napi_env env, napi_callback_info info) {
  Args<3> args(env, info);
  const int dirfd = args.Int(0);
  const Path name(args, 1);
  const Bytes room = args.Buffer(2);
  if (args.Failed()) return args.Failure();
  return args.Result(Look("xfs_listxattr", dirfd, [&] { return List(dirfd, name, room); }));
}

constexpr Function kFunctions[] = {{"xfsListxattrat", XfsListxattrat}};

}  // namespace

void RegisterXfsXattrs(napi_env env, napi_value object) { Register(env, object, kFunctions); }

}  // namespace plyfs
