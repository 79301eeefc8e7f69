// What each operation comes down to.
#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "portable.h"

namespace vreserve {

namespace {

constexpr std::string_view kHiding = ".fuse_hidden";
constexpr std::size_t kHidingDigits = 16;
constexpr std::size_t kLapsed = 256;
constexpr std::uint32_t kListing = 1U << 20;  // bytes of one READDIR

iovec part(const void* data, std::size_t size) noexcept { return {const_cast<void*>(data), size}; }

template <typename T>
iovec part(const T& value) noexcept {
  return part(&value, sizeof value);
}

iovec text(const char* value) noexcept { return part(value, std::strlen(value) + 1); }

const char* name_in(const std::string& path) noexcept { return path.c_str() + path.rfind('/') + 1; }

std::string_view directory_of(std::string_view path) noexcept { return path.substr(0, path.rfind('/')); }

// libfuse renames an open file to such a name before it goes.
bool hides(const Operation& operation) noexcept {
  const std::string_view name = name_in(operation.to);
  return name.size() == kHiding.size() + kHidingDigits && name.starts_with(kHiding) &&
         directory_of(operation.path) == directory_of(operation.to);
}

}  // namespace

void Portable::fail(const Job& job, int error) noexcept {
  Outcome outcome;
  outcome.result = -error;
  job->done(std::move(outcome));
}

void Portable::finish(const Job& job, std::int64_t result) noexcept {
  Outcome outcome;
  outcome.result = result;
  job->done(std::move(outcome));
}

Portable::Then Portable::plainly(const Job& job) noexcept {
  return [job](Reply& reply) { finish(job, -reply.error); };
}

void Portable::with_node(const Job& job, std::function<void(const NodeRef&)> then) noexcept {
  if (Open open; job->handle != 0 && find_handle(job->handle, open)) return then(open.node);
  walk(job->path, [job, then = std::move(then)](int error, const NodeRef& node) {
    if (error != 0) return fail(job, error);
    then(node);
  });
}

void Portable::with_parent(const Job& job, std::function<void(const NodeRef&, const char*)> then) noexcept {
  walk_parent(job->path, [job, then = std::move(then)](int error, const NodeRef& parent) {
    if (error != 0) return fail(job, error);
    job->parent = parent;
    then(parent, name_in(job->path));
  });
}

void Portable::run(const Job& job) noexcept {
  switch (job->opcode) {
    case fuse::GETATTR: return getattr(job);
    case fuse::SETATTR: return setattr(job);
    case fuse::READDIR: return readdir(job);
    case fuse::READLINK: return readlink(job);
    case fuse::MKNOD:
    case fuse::MKDIR: return make(job);
    case fuse::SYMLINK: return symlink(job);
    case fuse::UNLINK:
    case fuse::RMDIR: return remove(job);
    case fuse::RENAME: return rename(job);
    case fuse::LINK: return link(job);
    case fuse::OPEN: return open(job);
    case fuse::CREATE: return create(job);
    case fuse::READ: return read(job);
    case fuse::WRITE: return write(job);
    case fuse::FLUSH:
    case fuse::RELEASE: return close(job);
    case fuse::FSYNC:
    case fuse::FSYNCDIR: return sync(job);
    case fuse::STATFS: return statfs(job);
    case fuse::GETXATTR:
    case fuse::LISTXATTR: return getxattr(job);
    case fuse::SETXATTR: return setxattr(job);
    case fuse::REMOVEXATTR: return removexattr(job);
    default: return fail(job, ENOSYS);
  }
}

// Not of virtual files, of which each look shows another one, and not where other names, each an inode to the kernel, may
// change what this one shows.
void Portable::tell(const Job& job, const Node& node, fuse::Attr attr, bool may_keep) noexcept {
  const bool alone = S_ISDIR(attr.mode) || (S_ISREG(attr.mode) && attr.nlink == 1);
  if (may_keep && alone && !node.is_own()) attr.rdev = kMayKeep;
  if (node.is_own()) attr.rdev = kOwn;
  Outcome outcome;
  outcome.attr = attr;
  job->done(std::move(outcome));
}

// --- attributes -------------------------------------------------------------------------------------------------

void Portable::getattr(const Job& job) noexcept {
  with_node(job, [this, job](const NodeRef& node) {
    // What was just looked up is as it is now; of a virtual file the size comes with its content.
    if (job->handle == 0 && !node->is_own() && node != root_ && !known_hidden(job->path)) {
      return tell(job, *node, node->attr(), node->may_keep());
    }
    constexpr std::array<std::uint64_t, 2> nothing{};  // getattr_flags, fh
    send(fuse::GETATTR, node->id(), {part(nothing)}, [this, job, node](Reply& reply) {
      const auto* const out = reply.as<fuse::AttrOut>();
      if (reply.error != 0 || out == nullptr) return fail(job, reply.error != 0 ? reply.error : EIO);
      fuse::Attr attr = out->attr;
      // libfuse takes off the name under which it believes to have hidden the file.
      if (attr.nlink > 0 && has_lost_name(job->path)) ++attr.nlink;
      tell(job, *node, attr, out->attr_valid != 0);
    });
  });
}

void Portable::setattr(const Job& job) noexcept {
  const auto set = [this, job](const NodeRef& node) {
    send(fuse::SETATTR, node->id(), {part(job->set)}, [job, node](Reply& reply) { finish(job, -reply.error); });
  };
  if (job->handle == 0) return with_node(job, set);
  on_handle(job, [set, job](const Open& open) {
    job->set.valid |= fuse::FATTR_FH;
    job->set.fh = open.fh;
    set(open.node);
  });
}

void Portable::statfs(const Job& job) noexcept {
  with_node(job, [this, job](const NodeRef& node) {
    send(fuse::STATFS, node->id(), {}, [job, node](Reply& reply) {
      const auto* const out = reply.as<fuse::StatfsOut>();
      if (reply.error != 0 || out == nullptr) return fail(job, reply.error != 0 ? reply.error : EIO);
      Outcome outcome;
      outcome.statfs = *out;
      job->done(std::move(outcome));
    });
  });
}

void Portable::getxattr(const Job& job) noexcept {
  with_node(job, [this, job](const NodeRef& node) {
    const fuse::GetxattrIn in{static_cast<std::uint32_t>(job->size), 0};
    const auto told = [job, node](Reply& reply) {
      if (reply.error != 0) return fail(job, reply.error);
      Outcome outcome;
      const auto* const size = reply.as<fuse::GetxattrOut>();
      if (job->size == 0) {
        outcome.result = size == nullptr ? 0 : static_cast<std::int64_t>(size->size);
      } else {
        outcome.result = static_cast<std::int64_t>(reply.size);
        outcome.text = std::move(reply.data);
      }
      job->done(std::move(outcome));
    };
    if (job->opcode == fuse::LISTXATTR) return send(fuse::LISTXATTR, node->id(), {part(in)}, told);
    send(fuse::GETXATTR, node->id(), {part(in), text(job->to.c_str())}, told);
  });
}

void Portable::setxattr(const Job& job) noexcept {
  with_node(job, [this, job](const NodeRef& node) {
    const fuse::SetxattrIn in{static_cast<std::uint32_t>(job->size), job->flags, 0, 0};
    send(fuse::SETXATTR, node->id(), {part(in), text(job->to.c_str()), part(job->data, job->size)},
         [job, node](Reply& reply) { finish(job, -reply.error); });
  });
}

void Portable::removexattr(const Job& job) noexcept {
  with_node(job, [this, job](const NodeRef& node) {
    send(fuse::REMOVEXATTR, node->id(), {text(job->to.c_str())}, [job, node](Reply& reply) { finish(job, -reply.error); });
  });
}

// --- names ------------------------------------------------------------------------------------------------------

void Portable::readdir(const Job& job) noexcept {
  with_node(job, [this, job](const NodeRef& node) {
    list_from(job, node, 0, std::make_shared<Outcome>());
  });
}

void Portable::list_from(const Job& job, const NodeRef& node, std::uint64_t offset,
                         const std::shared_ptr<Outcome>& listed) noexcept {
  fuse::ReadIn in{};
  in.offset = offset;
  in.size = kListing;
  send(fuse::READDIR, node->id(), {part(in)}, [this, job, node, listed](Reply& reply) {
    if (reply.error != 0) return fail(job, reply.error);
    std::uint64_t next = 0;
    for (std::size_t at = 0; const auto* const entry = reply.as<fuse::Dirent>(at);) {
      const std::string_view name(reply.data.data() + at + sizeof *entry, entry->namelen);
      if (!hides_name(job->path, name)) listed->names.push_back({std::string(name), entry->ino, entry->type << 12});
      next = entry->off;
      at += (sizeof *entry + entry->namelen + 7) & ~std::size_t{7};
    }
    if (next == 0) return job->done(std::move(*listed));
    list_from(job, node, next, listed);
  });
}

void Portable::readlink(const Job& job) noexcept {
  with_node(job, [this, job](const NodeRef& node) {
    send(fuse::READLINK, node->id(), {}, [job, node](Reply& reply) {
      if (reply.error != 0) return fail(job, reply.error);
      Outcome outcome;
      outcome.text = std::move(reply.data);
      job->done(std::move(outcome));
    });
  });
}

// The engine counts each entry that it tells as one more look-up.
Portable::Then Portable::made(const Job& job) noexcept {
  return [this, job](Reply& reply) {
    if (const auto* const entry = reply.as<fuse::EntryOut>(); reply.error == 0 && entry != nullptr) (void)node_of(*entry);
    finish(job, -reply.error);
  };
}

void Portable::make(const Job& job) noexcept {
  with_parent(job, [this, job](const NodeRef& parent, const char* name) {
    if (job->opcode == fuse::MKDIR) {
      const fuse::MkdirIn in{job->mode, 0};
      return send(fuse::MKDIR, parent->id(), {part(in), text(name)}, made(job));
    }
    const fuse::MknodIn in{job->mode, static_cast<std::uint32_t>(job->rdev), 0, 0};
    send(fuse::MKNOD, parent->id(), {part(in), text(name)}, made(job));
  });
}

void Portable::symlink(const Job& job) noexcept {
  with_parent(job, [this, job](const NodeRef& parent, const char* name) {
    send(fuse::SYMLINK, parent->id(), {text(name), text(job->to.c_str())}, made(job));
  });
}

void Portable::link(const Job& job) noexcept {
  with_node(job, [this, job](const NodeRef& node) {
    walk_parent(job->to, [this, job, node](int error, const NodeRef& parent) {
      if (error != 0) return fail(job, error);
      const fuse::LinkIn in{node->id()};
      send(fuse::LINK, parent->id(), {part(in), text(name_in(job->to))}, made(job));
    });
  });
}

void Portable::remove(const Job& job) noexcept {
  if (job->opcode == fuse::UNLINK) {
    std::unique_lock lock(mutex_);
    // The last close of a hidden file.
    if (const auto found = hidden_.find(job->path); found != hidden_.end()) {
      const Hidden::State state = found->second.state;
      NodeRef node;
      if (state == Hidden::State::restored) {
        found->second.state = Hidden::State::lapsed;
        lapsed_.push_back(job->path);
        node = drop_lapsed();
      } else {
        node = std::move(found->second.node);
        hidden_.erase(found);
      }
      lock.unlock();
      if (state != Hidden::State::renamed) return finish(job);
    }
  } else if (holds_hidden(job->path)) {
    return fail(job, ENOTEMPTY);  // libfuse could not find the open file again
  }
  with_parent(job, [this, job](const NodeRef& parent, const char* name) {
    send(job->opcode, parent->id(), {text(name)}, [this, job, parent](Reply& reply) {
      if (reply.error == 0 && job->opcode == fuse::RMDIR) forget_below(job->path);
      finish(job, -reply.error);
    });
  });
}

// --- names that move --------------------------------------------------------------------------------------------

void Portable::rename(const Job& job) noexcept {
  with_parent(job, [this, job](const NodeRef& parent, const char* name) {
    if (hides(*job)) return hide(job, parent);
    if (holds_hidden(job->to)) return fail(job, ENOTEMPTY);
    walk_parent(job->to, [this, job, parent, name](int error, const NodeRef& target) {
      if (error != 0) return fail(job, error);
      const fuse::RenameIn in{target->id()};
      send(fuse::RENAME, parent->id(), {part(in), text(name), text(name_in(job->to))}, [this, job, parent, target](Reply& reply) {
        if (reply.error == 0) renamed(job->path, job->to);
        settle_hidden(job, target, reply.error);
      });
    });
  });
}

// Names below a directory that has moved.
void Portable::renamed(const std::string& from, const std::string& to) noexcept {
  forget_below(from);
  forget_below(to);
  const std::lock_guard guard(mutex_);
  std::vector<std::pair<std::string, Hidden>> moved;
  for (auto it = hidden_.begin(); it != hidden_.end();) {
    if (!is_at_or_below(it->first, from)) {
      ++it;
      continue;
    }
    Hidden hidden = std::move(it->second);
    hidden.name = to + hidden.name.substr(from.size());
    moved.emplace_back(to + it->first.substr(from.size()), std::move(hidden));
    it = hidden_.erase(it);
  }
  for (auto& [path, hidden] : moved) hidden_[path] = std::move(hidden);
}

// libfuse is about to unlink or to replace an open file, and names it so that it finds it again. What is unlinked goes at
// once. A target that is to be replaced takes the name until the rename is over: one that is refused must leave it where it was.
void Portable::hide(const Job& job, const NodeRef& parent) noexcept {
  walk(job->path, [this, job, parent](int error, const NodeRef& node) {
    if (error != 0) return fail(job, error);
    const auto hidden = [this, job, node](Hidden::State state) {
      return [this, job, node, state](Reply& reply) {
        if (reply.error == 0) {
          const std::lock_guard guard(mutex_);
          hidden_[job->to] = {node, job->path, state};
        }
        finish(job, -reply.error);
      };
    };
    const char* const name = name_in(job->path);
    const fuse::RenameIn in{parent->id()};
    const auto moved = {part(in), text(name), text(name_in(job->to))};
    if (!is_open(node->id())) return send(fuse::RENAME, parent->id(), moved, plainly(job));  // somebody's own idea of a name
    if (fuse_loop_renames_onto(name)) return send(fuse::RENAME, parent->id(), moved, hidden(Hidden::State::renamed));
    send(fuse::UNLINK, parent->id(), {text(name)}, hidden(Hidden::State::unlinked));
  });
}

void Portable::unlink_hidden(const Job& job) noexcept {
  {
    const std::lock_guard guard(mutex_);
    const auto found = hidden_.find(job->path);
    if (found == hidden_.end() || found->second.state != Hidden::State::renamed) return finish(job);
    found->second.state = Hidden::State::unlinked;
  }
  with_parent(job, [this, job](const NodeRef& parent, const char* name) {
    send(fuse::UNLINK, parent->id(), {text(name)}, [this, job, parent](Reply& reply) {
      if (reply.error != 0) {
        const std::lock_guard guard(mutex_);
        if (const auto found = hidden_.find(job->path); found != hidden_.end()) found->second.state = Hidden::State::renamed;
      }
      finish(job, -reply.error);
    });
  });
}

// A rename is over: a target that was hidden for it is gone for good, or comes back.
void Portable::settle_hidden(const Job& job, const NodeRef& directory, int error) noexcept {
  auto settled = std::make_shared<Operation>();
  settled->opcode = fuse::UNLINK;
  settled->done = [job, error](Outcome&&) { finish(job, -error); };
  {
    const std::lock_guard guard(mutex_);
    const auto found = std::ranges::find_if(hidden_, [&job](const auto& each) {
      return each.second.name == job->to && each.second.state == Hidden::State::renamed;
    });
    if (found != hidden_.end()) {
      settled->path = found->first;
      if (error != 0) found->second.state = Hidden::State::restored;
    }
  }
  if (settled->path.empty()) return finish(job, -error);
  if (error == 0) return unlink_hidden(settled);
  const fuse::RenameIn in{directory->id()};
  send(fuse::RENAME, directory->id(), {part(in), text(name_in(settled->path)), text(name_in(job->to))},
       [settled, directory](Reply&) { finish(settled); });
}

// Returns what must be let go without mutex_, which must be held.
NodeRef Portable::drop_lapsed() noexcept {
  NodeRef dropped;
  if (lapsed_.size() <= kLapsed) return dropped;
  if (const auto oldest = hidden_.find(lapsed_.front()); oldest != hidden_.end()) {
    dropped = std::move(oldest->second.node);
    hidden_.erase(oldest);
  }
  lapsed_.pop_front();
  return dropped;
}

bool Portable::known_hidden(const std::string& path) noexcept {
  const std::lock_guard guard(mutex_);
  return hidden_.contains(path);
}

bool Portable::has_lost_name(const std::string& path) noexcept {
  const std::lock_guard guard(mutex_);
  const auto found = hidden_.find(path);
  return found != hidden_.end() &&
         (found->second.state == Hidden::State::unlinked || found->second.state == Hidden::State::restored);
}

bool Portable::hides_name(const std::string& directory, std::string_view name) noexcept {
  if (!name.starts_with(kHiding)) return false;
  return known_hidden((directory == "/" ? "" : directory) + "/" + std::string(name));
}

bool Portable::holds_hidden(const std::string& directory) noexcept {
  const std::lock_guard guard(mutex_);
  return std::ranges::any_of(hidden_, [&directory](const auto& each) {
    const bool there = each.second.state == Hidden::State::renamed || each.second.state == Hidden::State::unlinked;
    return there && directory_of(each.first) == directory;
  });
}

// --- open files -------------------------------------------------------------------------------------------------

void Portable::open(const Job& job) noexcept {
  with_node(job, [this, job](const NodeRef& node) {
    const fuse::OpenIn in{job->flags, 0};
    send(fuse::OPEN, node->id(), {part(in)}, [this, job, node](Reply& reply) {
      const auto* const out = reply.as<fuse::OpenOut>();
      if (reply.error != 0 || out == nullptr) return fail(job, reply.error != 0 ? reply.error : EIO);
      finish(job, static_cast<std::int64_t>(add_handle(node, *out, job->flags)));
    });
  });
}

void Portable::create(const Job& job) noexcept {
  with_parent(job, [this, job](const NodeRef& parent, const char* name) {
    const fuse::CreateIn in{job->flags, job->mode, 0, 0};
    send(fuse::CREATE, parent->id(), {part(in), text(name)}, [this, job](Reply& reply) {
      const auto* const entry = reply.as<fuse::EntryOut>();
      const auto* const out = reply.as<fuse::OpenOut>(sizeof *entry);
      if (reply.error != 0 || out == nullptr) return fail(job, reply.error != 0 ? reply.error : EIO);
      finish(job, static_cast<std::int64_t>(add_handle(node_of(*entry), *out, job->flags)));
    });
  });
}

// Runs what is done with an open file when its turn has come.
void Portable::on_handle(const Job& job, std::function<void(const Open&)> then) noexcept {
  job->done = [this, handle = job->handle, done = std::move(job->done)](Outcome&& outcome) {
    done(std::move(outcome));
    next_of(handle);
  };
  in_order(job->handle, [this, job, then = std::move(then)] {
    Open open;
    if (!find_handle(job->handle, open)) return fail(job, EBADF);
    then(open);
  });
}

void Portable::read(const Job& job) noexcept {
  on_handle(job, [this, job](const Open& open) {
    fuse::ReadIn in{};
    in.fh = open.fh;
    in.offset = static_cast<std::uint64_t>(job->offset);
    in.size = static_cast<std::uint32_t>(job->size);
    in.flags = open.flags;
    send(
        fuse::READ, open.node->id(), {part(in)},
        [job, node = open.node](Reply& reply) {
          if (reply.error != 0) return fail(job, reply.error);
          finish(job, static_cast<std::int64_t>(std::min(reply.size, job->size)));
        },
        0, job->data, job->size);
  });
}

void Portable::write(const Job& job) noexcept {
  on_handle(job, [this, job](const Open& open) {
    fuse::WriteIn in{};
    in.fh = open.fh;
    in.offset = static_cast<std::uint64_t>(job->offset);
    in.size = static_cast<std::uint32_t>(job->size);
    in.flags = open.flags;
    send(
        fuse::WRITE, open.node->id(), {part(in), part(job->data, job->size)},
        [job, node = open.node](Reply& reply) {
          const auto* const out = reply.as<fuse::WriteOut>();
          if (reply.error != 0 || out == nullptr) return fail(job, reply.error != 0 ? reply.error : EIO);
          finish(job, out->size);
        },
        job->handle);
  });
}

// FLUSH and RELEASE.
void Portable::close(const Job& job) noexcept {
  on_handle(job, [this, job](const Open& open) {
    if (job->opcode == fuse::FLUSH) {
      fuse::FlushIn in{};
      in.fh = open.fh;
      return send(fuse::FLUSH, open.node->id(), {part(in)}, plainly(job), job->handle);
    }
    fuse::ReleaseIn in{};
    in.fh = open.fh;
    in.flags = open.flags;
    send(fuse::RELEASE, open.node->id(), {part(in)}, [this, job, node = open.node](Reply& reply) {
      {
        const std::lock_guard guard(mutex_);
        handles_.erase(job->handle);
      }
      finish(job, -reply.error);
    });
  });
}

void Portable::sync(const Job& job) noexcept {
  const fuse::FsyncIn in{0, job->flags, 0};
  if (job->opcode == fuse::FSYNCDIR) {
    return with_node(job, [this, job, in](const NodeRef& node) {
      send(fuse::FSYNCDIR, node->id(), {part(in)}, [job, node](Reply& reply) { finish(job, -reply.error); });
    });
  }
  on_handle(job, [this, job, in](const Open& open) {
    send(fuse::FSYNC, open.node->id(), {part(in)}, [job, node = open.node](Reply& reply) { finish(job, -reply.error); });
  });
}

}  // namespace vreserve
