/** A descriptor that is closed with its owner. */
#pragma once

#include <unistd.h>

namespace plyfs {

/** A negative number owns nothing: what a failed open(2) returned. */
class OwnedFd {
 public:
  explicit OwnedFd(int fd) : fd_(fd) {}
  ~OwnedFd() {
    if (fd_ >= 0) close(fd_);
  }
  OwnedFd(const OwnedFd&) = delete;
  OwnedFd& operator=(const OwnedFd&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

}  // namespace plyfs
