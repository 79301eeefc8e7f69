// The parallel walk behind a full count: workers take directories off one stack and open each from the root anew, so
// that a tree of any width or depth takes two descriptors a thread.
#include "count.h"

#include <dirent.h>
#include <linux/openat2.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <condition_variable>
#include <cstring>
#include <limits>
#include <memory>
#include <mutex>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include "sys.h"

namespace vreserve {

namespace {

constexpr std::string_view kOwnData = ".vreserve";
// What of it is served, and so is charged.
constexpr std::array<std::string_view, 3> kServed{"spool", "blobs", "namespaces"};
constexpr std::int64_t kReportEvery = 1024;  // entries

void add_to(std::int64_t& sum, std::int64_t value) noexcept {
  if (__builtin_add_overflow(sum, value, &sum)) sum = std::numeric_limits<std::int64_t>::max();
}

// The entry is not there (any more), or is no longer what it was when its name was read.
bool is_absent(int error) noexcept { return error == ENOENT || error == ENOTDIR || error == ELOOP; }

std::string join(const std::string& directory, std::string_view name) {
  std::string path;
  path.reserve(directory.size() + 1 + name.size());
  if (directory != "/") path = directory;
  return path.append("/").append(name);
}

int open_below(int directory, const std::string& path, std::uint64_t flags) noexcept {
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  for (;;) {
    const long fd = ::syscall(SYS_openat2, directory, path.c_str(), &how, sizeof how);
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) return static_cast<int>(fd);
  }
}

// Opens a directory by its path in the mount: a path the kernel does not take whole is walked in groups of components.
// Not open, with errno set, on failure.
Fd open_directory(int root_fd, std::string_view path) {
  if (!path.empty()) path.remove_prefix(1);
  Fd base;
  for (;;) {
    std::size_t length = path.size();
    if (length >= PATH_MAX) {
      length = path.rfind('/', PATH_MAX - 1);
      if (length == std::string_view::npos) {
        errno = ENAMETOOLONG;
        return Fd();
      }
    }
    const bool last = length == path.size();
    const std::string group = length == 0 ? "." : std::string(path.substr(0, length));
    Fd next(open_below(base ? base.get() : root_fd, group, O_DIRECTORY | (last ? O_RDONLY : O_PATH)));
    if (last || !next) return next;
    base = std::move(next);
    path.remove_prefix(length + 1);
  }
}

// A directory to read. The path above it is shared by all that wait with it.
struct Item {
  std::shared_ptr<const std::string> parent;
  std::string name;  // empty: parent itself
  [[nodiscard]] std::string path() const { return name.empty() ? *parent : join(*parent, name); }
};

// The lots that own a path under the bindings of now, and under those to come (the same where nothing is to change).
struct Owners {
  LotId now = kNoLot;
  LotId then = kNoLot;

  bool operator==(const Owners&) const noexcept = default;
};

// An inode with several names, as far as they have been seen.
struct Linked {
  std::string path;  // bytewise first
  Owners lots;       // of that path
  std::int64_t bytes = 0;
  std::int64_t holes = 0;
  nlink_t seen = 0;
  nlink_t names = 0;
  bool straddles = false;       // now
  bool straddles_then = false;
  bool changes = false;  // one of the names changes its lot
};

class Walk {
 public:
  Walk(int root_fd, const std::string& at, const Paths& paths, const CountChange* change, CountProgress& progress) noexcept
      : root_fd_(root_fd), at_(at), paths_(paths), change_(change), progress_(progress) {}

  CountOutcome run(const std::vector<std::string>& tops, unsigned threads) {
    struct stat st {};
    if (::fstat(root_fd_, &st) != 0) {
      fail(errno, "/");
    } else {
      device_ = st.st_dev;
      for (const std::string& top : tops) start(top);
    }
    std::vector<std::thread> helpers;
    try {
      for (unsigned i = 1; i < threads; ++i) helpers.emplace_back([this] { work(); });
    } catch (const std::system_error&) {  // at the limit of threads: go on with those there are
    }
    work();
    for (auto& helper : helpers) helper.join();
    settle_links();
    settle_lots();
    return std::move(outcome_);
  }

 private:
  // By the owners of now (lower half) and then.
  using Lots = std::unordered_map<std::uint64_t, LotCount>;
  static std::uint64_t key_of(Owners lots) noexcept { return (std::uint64_t{lots.then} << 32) | lots.now; }

  [[nodiscard]] Owners owners_of(const std::string& path) const noexcept {
    const LotId now = paths_.at(path, false).lot;
    return {now, change_ == nullptr ? now : change_->after.at(path, false).lot};
  }

  // What one worker has seen since it last reported.
  struct Tally {
    std::int64_t files = 0;
    std::int64_t directories = 0;
    std::int64_t bytes = 0;
  };
  struct Worker {
    Lots lots;
    std::int64_t holes = 0;
    Tally tally;
    std::unique_ptr<char[]> entries = std::make_unique<char[]>(kEntryBytes);
  };
  static constexpr std::size_t kEntryBytes = 64 * 1024;

  // A directory goes on the stack; anything else is counted here.
  void start(const std::string& path) {
    if (path == "/" || path == at_) return push({std::make_shared<const std::string>(path), {}});
    const auto slash = path.rfind('/');
    const std::string above = slash == 0 ? "/" : path.substr(0, slash);
    const Fd directory = open_directory(root_fd_, within(above));
    struct stat st {};
    if (!directory || ::fstatat(directory.get(), path.c_str() + slash + 1, &st, kStatFlags) != 0) {
      if (!is_absent(errno)) fail(errno, path);
      return;
    }
    if (S_ISDIR(st.st_mode)) return push({std::make_shared<const std::string>(path), {}});
    Worker worker;
    add_file(worker, above, path.c_str() + slash + 1, st, owners_of(path));
    merge(worker);
  }

  // A path of the mount as it is below root_fd_.
  [[nodiscard]] std::string_view within(std::string_view path) const noexcept { return path.substr(at_.size()); }

  void push(Item item) {
    const std::lock_guard lock(mutex_);
    stack_.push_back(std::move(item));
    wake_.notify_one();
  }

  // Where one is not there, or is no directory, there is nothing to read.
  void push_served() {
    const auto own = std::make_shared<const std::string>(join("/", kOwnData));
    for (const std::string_view name : kServed) push({own, std::string(name)});
  }

  // False when all is read, or nothing more is to be.
  bool take(Item& item) {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return stopped_ || !stack_.empty() || busy_ == 0; });
    if (stopped_ || stack_.empty()) return false;
    item = std::move(stack_.back());
    stack_.pop_back();
    ++busy_;
    return true;
  }

  void done() {
    const std::lock_guard lock(mutex_);
    if (--busy_ == 0) wake_.notify_all();
  }

  void fail(int error, const std::string& path) {
    const std::lock_guard lock(mutex_);
    if (!stopped_) {
      outcome_.error = error;
      outcome_.error_path = path;
    }
    stopped_ = true;
    wake_.notify_all();
  }

  void work() {
    Worker worker;
    Item item;
    while (take(item)) {
      read_directory(worker, item.path());
      report(worker.tally);
      done();
    }
    merge(worker);
  }

  // False when the walk is to end.
  bool report(Tally& tally) {
    progress_.files += tally.files;
    progress_.directories += tally.directories;
    progress_.bytes += tally.bytes;
    tally = {};
    if (progress_.cancel) fail(ECANCELED, "");
    const std::lock_guard lock(mutex_);
    return !stopped_;
  }

  void read_directory(Worker& worker, const std::string& path) {
    const Fd directory = open_directory(root_fd_, within(path));
    struct stat st {};
    if (!directory || ::fstat(directory.get(), &st) != 0) {
      if (!is_absent(errno)) fail(errno, path);
      return;
    }
    if (st.st_dev != device_) return;
    ++worker.tally.directories;
    const auto shared = std::make_shared<const std::string>(path);
    // Nodes may fall away while a long directory is read, so none is kept: where bound paths lie below, each name asks
    // from the root.
    const PathStep now = paths_.at(path, true);
    const PathStep then = change_ == nullptr ? now : change_->after.at(path, true);
    const bool bound_below = now.node != nullptr || then.node != nullptr;
    for (std::int64_t entries = 0;;) {
      const ssize_t length = ::getdents64(directory.get(), worker.entries.get(), kEntryBytes);
      if (length < 0 && !is_absent(errno)) fail(errno, path);
      if (length <= 0) return;
      for (ssize_t at = 0; at < length;) {
        const auto* const entry = reinterpret_cast<const dirent64*>(worker.entries.get() + at);
        at += entry->d_reclen;
        const std::string_view name = entry->d_name;
        if (name == "." || name == "..") continue;
        if (path == "/" && name == kOwnData) {
          push_served();
          continue;
        }
        if (++entries % kReportEvery == 0 && !report(worker.tally)) return;
        if (entry->d_type == DT_DIR) {
          push({shared, std::string(name)});
          continue;
        }
        if (::fstatat(directory.get(), entry->d_name, &st, kStatFlags) != 0) {
          if (is_absent(errno)) continue;
          return fail(errno, join(path, name));
        }
        if (S_ISDIR(st.st_mode)) {
          push({shared, std::string(name)});
        } else {
          add_file(worker, path, name, st, bound_below ? owners_of(join(path, name)) : Owners{now.lot, then.lot});
        }
      }
    }
  }

  void add_file(Worker& worker, const std::string& directory, std::string_view name, const struct stat& st, Owners lots) {
    if (st.st_dev != device_) return;
    const std::int64_t bytes = S_ISREG(st.st_mode) ? st.st_size : 0;
    if (st.st_nlink > 1 && !add_link(join(directory, name), st, lots, bytes)) return;
    ++worker.tally.files;
    add_to(worker.tally.bytes, bytes);
    if (st.st_nlink > 1) return;
    if (change_ != nullptr && change_->watched.contains(st.st_ino)) {
      const std::lock_guard lock(links_mutex_);
      outcome_.watched[st.st_ino] = {lots.now, lots.then, bytes, join(directory, name)};
    }
    auto& count = worker.lots[key_of(lots)];
    add_to(count.bytes, bytes);
    ++count.objects;
    add_to(worker.holes, hole_bytes(st));
  }

  // True for the first name of the inode that is seen.
  bool add_link(std::string path, const struct stat& st, Owners lots, std::int64_t bytes) {
    const std::lock_guard lock(links_mutex_);
    auto& linked = links_[st.st_ino];
    const bool first = linked.seen++ == 0;
    if (!first && linked.lots.now != lots.now) linked.straddles = true;
    if (!first && linked.lots.then != lots.then) linked.straddles_then = true;
    if (lots.now != lots.then) linked.changes = true;
    if (first || path < linked.path) {
      linked.path = std::move(path);
      linked.lots = lots;
    }
    linked.names = std::max(linked.names, st.st_nlink);
    linked.bytes = bytes;
    linked.holes = hole_bytes(st);
    return first;
  }

  void merge(const Worker& worker) {
    const std::lock_guard lock(mutex_);
    for (const auto& [lots, count] : worker.lots) {
      add_to(lots_[lots].bytes, count.bytes);
      lots_[lots].objects += count.objects;
    }
    add_to(outcome_.hole_bytes, worker.holes);
  }

  // Only when every name has been seen is it known which is the first. No worker runs any more.
  void settle_links() {
    for (auto& [inode, linked] : links_) {
      const bool partial = linked.seen < linked.names;
      if (partial && (outcome_.partial.empty() || linked.path < outcome_.partial)) outcome_.partial = linked.path;
      if (change_ != nullptr) settle_change(inode, linked, partial);
      auto& count = lots_[key_of(linked.lots)];
      add_to(count.bytes, linked.bytes);
      ++count.objects;
      add_to(outcome_.hole_bytes, linked.holes);
      if (linked.straddles) outcome_.straddling.push_back({device_, inode, linked.lots.now, std::move(linked.path), 0});
    }
    std::sort(outcome_.straddling.begin(), outcome_.straddling.end(),
              [](const Straddler& a, const Straddler& b) { return a.path < b.path; });
  }

  // Whom an inode with several names is charged to before and after.
  void settle_change(ino_t inode, Linked& linked, bool partial) {
    const auto known = change_->straddling.find(inode);
    const bool straddled = known != change_->straddling.end();
    if (straddled) linked.lots.now = known->second;
    if (!linked.changes) {
      linked.lots.then = linked.lots.now;  // nothing moves
    } else if (linked.straddles_then || (partial && (straddled || linked.lots.then != linked.lots.now))) {
      if (outcome_.split.empty() || linked.path < outcome_.split) outcome_.split = linked.path;
      // Its other names may be written to meanwhile, so its charge stays where it is.
      if (partial) linked.lots.then = linked.lots.now;
      outcome_.straddling_after.push_back({device_, inode, linked.lots.then, linked.path, 0});
    } else if (straddled) {
      outcome_.gathered.push_back(inode);
    }
    if (change_->watched.contains(inode)) {
      outcome_.watched[inode] = {linked.lots.now, linked.lots.then, linked.bytes, linked.path};
    }
  }

  void settle_lots() {
    for (const auto& [lots, count] : lots_) {
      const auto now = static_cast<LotId>(lots);
      const auto then = static_cast<LotId>(lots >> 32);
      add_to(outcome_.lots[now].bytes, count.bytes);
      outcome_.lots[now].objects += count.objects;
      if (now != then) outcome_.moves.push_back({now, then, count});
    }
  }

  static constexpr int kStatFlags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;

  const int root_fd_;
  const std::string at_;
  const Paths& paths_;
  const CountChange* const change_;
  CountProgress& progress_;
  dev_t device_ = 0;

  std::mutex mutex_;  // guards what follows, up to links_mutex_; neither is taken under the other
  std::condition_variable wake_;
  std::vector<Item> stack_;
  unsigned busy_ = 0;  // workers that may still push
  bool stopped_ = false;
  Lots lots_;
  CountOutcome outcome_;  // but for its `watched`

  std::mutex links_mutex_;  // guards links_ and outcome_.watched
  std::unordered_map<ino_t, Linked> links_;
};

}  // namespace

CountOutcome count_tree(int root_fd, const std::string& path, const Paths& paths, unsigned threads,
                        CountProgress& progress, const std::string& at) noexcept {
  return Walk(root_fd, at, paths, nullptr, progress).run({normalized(path)}, threads);
}

CountOutcome count_change(int root_fd, const std::vector<std::string>& tops, const Paths& paths,
                          const CountChange& change, unsigned threads, CountProgress& progress,
                          const std::string& at) noexcept {
  return Walk(root_fd, at, paths, &change, progress).run(tops, threads);
}

}  // namespace vreserve
