#include "emulated-ids.h"

#include <errno.h>
#include <sys/resource.h>

#include <algorithm>

namespace plyfs {

namespace {

uint64_t HashOf(const Credentials& credentials) {
  uint64_t hash = 0xcbf29ce484222325;
  const auto mix = [&hash](uint32_t value) { hash = (hash ^ value) * 0x100000001b3; };
  for (const Ids& ids : {credentials.user, credentials.group}) {
    for (const uint32_t id : {ids.real, ids.effective, ids.saved, ids.file_system}) mix(id);
  }
  mix(static_cast<uint32_t>(credentials.privileged) << 1 |
      static_cast<uint32_t>(credentials.keeps));
  for (const uint32_t group : credentials.groups) mix(group);
  return hash;
}

}  // namespace

int Ids::SetOne(uint32_t id, bool privileged) {
  if (!ValidId(id)) return EINVAL;
  if (privileged) {
    *this = All(id);
    return 0;
  }
  if (id != real && id != saved) return EPERM;
  effective = file_system = id;
  return 0;
}

int Ids::SetTwo(uint32_t new_real, uint32_t new_effective, bool privileged) {
  if (!ValidOrNone(new_real) || !ValidOrNone(new_effective)) return EINVAL;
  if (!privileged) {
    if (new_real != kNoId && new_real != real && new_real != effective) return EPERM;
    if (new_effective != kNoId && !Has(new_effective)) return EPERM;
  }
  const uint32_t old_real = real;
  if (new_real != kNoId) real = new_real;
  if (new_effective != kNoId) effective = new_effective;
  if (new_real != kNoId || (new_effective != kNoId && new_effective != old_real)) saved = effective;
  file_system = effective;
  return 0;
}

int Ids::SetThree(uint32_t new_real, uint32_t new_effective, uint32_t new_saved, bool privileged) {
  for (const uint32_t id : {new_real, new_effective, new_saved}) {
    if (!ValidOrNone(id)) return EINVAL;
  }
  for (const uint32_t id : {new_real, new_effective, new_saved}) {
    if (id != kNoId && !privileged && !Has(id)) return EPERM;
  }
  if (new_real != kNoId) real = new_real;
  if (new_effective != kNoId) effective = new_effective;
  if (new_saved != kNoId) saved = new_saved;
  file_system = effective;
  return 0;
}

int Ids::SetFileSystem(uint32_t id, bool privileged) {
  if (!ValidId(id)) return EINVAL;
  if (!privileged && !Has(id) && id != file_system) return EPERM;
  file_system = id;
  return 0;
}

bool Credentials::InGroup(uint32_t id) const {
  return id == group.file_system || std::find(groups.begin(), groups.end(), id) != groups.end();
}

void Credentials::UserChanged(const Ids& former) {
  if (former.Has(0) && !user.Has(0)) {
    privileged = privileged && keeps;
  } else if ((former.effective == 0) != (user.effective == 0)) {
    privileged = user.effective == 0;
  }
}

void Credentials::Execute(uint32_t set_user, uint32_t set_group) {
  if (set_user != kNoId) user.effective = set_user;
  if (set_group != kNoId) group.effective = set_group;
  user.saved = user.file_system = user.effective;
  group.saved = group.file_system = group.effective;
  privileged = user.effective == 0 || user.real == 0;
  keeps = false;
}

IdTable::IdTable(Credentials first) { Add(HashOf(first), first); }

const Credentials& IdTable::Of(pid_t pid) const {
  rlimit limit{};
  if (prlimit(pid, RLIMIT_RSS, nullptr, &limit) < 0 || limit.rlim_cur >= known_.size())
    return known_.front();
  return known_[limit.rlim_cur];
}

int IdTable::NumberOf(const Credentials& credentials, uint64_t* number) {
  const uint64_t hash = HashOf(credentials);
  const auto [begin, end] = by_hash_.equal_range(hash);
  for (auto entry = begin; entry != end; ++entry) {
    if (!(known_[entry->second] == credentials)) continue;
    *number = entry->second;
    return 0;
  }
  if (known_.size() >= kMaxKnown) return EAGAIN;
  if (known_groups_ + credentials.groups.size() > kMaxKnownGroups) return ENOMEM;
  *number = known_.size();
  Add(hash, credentials);
  return 0;
}

void IdTable::Add(uint64_t hash, const Credentials& credentials) {
  by_hash_.emplace(hash, known_.size());
  known_groups_ += credentials.groups.size();
  known_.push_back(credentials);
}

int MarkingPossible() {
  rlimit numbers{};
  rlimit files{};
  if (getrlimit(RLIMIT_RSS, &numbers) < 0 || getrlimit(__RLIMIT_LOCKS, &files) < 0) return -1;
  if (numbers.rlim_max >= IdTable::kMaxKnown && files.rlim_max == RLIM_INFINITY) return 0;
  errno = EPERM;
  return -1;
}

}  // namespace plyfs
