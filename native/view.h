// A private view of a directory, out of reach of what may be mounted over it later.
#pragma once

#include <string>

#include "sys.h"

namespace vreserve {

// Not thread-safe. Where there is no privilege for one, the directory is its own view.
class View {
 public:
  View() noexcept = default;
  ~View() { drop(); }
  View(const View&) = delete;
  View& operator=(const View&) = delete;

  // 0 or -errno, with a sentence in `why`.
  [[nodiscard]] int take(const std::string& directory, bool privileged, std::string& why) noexcept;
  void drop() noexcept;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
  bool mounted_ = false;
  Fd lock_;
};

}  // namespace vreserve
