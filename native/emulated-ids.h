/**
 * What ids an emulated process has (root-emulation.h): its number (process-mark.h) stands for
 * credentials that the supervisor knows.
 *
 * What changes ids are methods that return 0 or an errno, and change nothing when they fail. The
 * rules are those of kernel/sys.c and capabilities(7).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <deque>
#include <unordered_map>
#include <vector>

#include "process-mark.h"

namespace plyfs {

/** `(uid_t)-1`, by which chown(2) and setresuid(2) leave an id as it is. */
constexpr uint32_t kNoId = UINT32_MAX;

inline bool ValidId(uint32_t id) { return id <= kMaxEmulatedId; }
inline bool ValidOrNone(uint32_t id) { return id == kNoId || ValidId(id); }

/** NGROUPS_MAX of linux/limits.h. */
constexpr size_t kMaxGroups = 65536;

/** Those of a user or of a group, as credentials(7) names them. */
struct Ids {
  uint32_t real = 0, effective = 0, saved = 0, file_system = 0;

  static Ids All(uint32_t id) { return {id, id, id, id}; }
  bool operator==(const Ids& other) const {
    return real == other.real && effective == other.effective && saved == other.saved &&
           file_system == other.file_system;
  }
  bool Has(uint32_t id) const { return id == real || id == effective || id == saved; }

  /** setuid(2), setgid(2). */
  int SetOne(uint32_t id, bool privileged);
  /** setreuid(2), setregid(2). */
  int SetTwo(uint32_t new_real, uint32_t new_effective, bool privileged);
  /** setresuid(2), setresgid(2). */
  int SetThree(uint32_t new_real, uint32_t new_effective, uint32_t new_saved, bool privileged);
  /** setfsuid(2), setfsgid(2). */
  int SetFileSystem(uint32_t id, bool privileged);
};

struct Credentials {
  Ids user, group;
  std::vector<uint32_t> groups;
  /** Stands for the capabilities that these calls ask for. */
  bool privileged = true;
  /** PR_SET_KEEPCAPS: they outlive the last of root's ids. */
  bool keeps = false;

  bool operator==(const Credentials& other) const {
    return user == other.user && group == other.group && privileged == other.privileged &&
           keeps == other.keeps && groups == other.groups;
  }
  /** As the file system asks. */
  bool InGroup(uint32_t id) const;
  /**
   * What becomes of capabilities after the user ids changed from `former` (capabilities(7), "Effect
   * of user ID changes").
   */
  void UserChanged(const Ids& former);
  /** execve(2) of a file that sets these ids, or kNoId. */
  void Execute(uint32_t set_user, uint32_t set_group);
};

/**
 * The credentials that processes have had, by number. A number always means the same: a process
 * that inherited it may live on. One thread's.
 */
class IdTable {
 public:
  /** Numbers are less. */
  static constexpr size_t kMaxKnown = 4096;
  /** Of supplementary groups in all of them: 4 MiB. */
  static constexpr size_t kMaxKnownGroups = size_t{1} << 20;

  /**
   * `first` gets the number 0: what the container begins as, and what a process without a known
   * number has.
   */
  explicit IdTable(Credentials first);

  /** Valid as long as the table. */
  const Credentials& Of(pid_t pid) const;
  /** EAGAIN when there is no number left, ENOMEM when there is no room for the groups. */
  int NumberOf(const Credentials& credentials, uint64_t* number);

 private:
  void Add(uint64_t hash, const Credentials& credentials);

  std::deque<Credentials> known_;
  size_t known_groups_ = 0;
  std::unordered_multimap<uint64_t, uint64_t> by_hash_;
};

/**
 * Whether a process with the limits of the caller can be marked at all: 0, or -1 with errno.
 * Raising a hard limit takes privilege over the machine.
 */
int MarkingPossible();

}  // namespace plyfs
