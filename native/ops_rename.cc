// Names that move: rename with its flags, and link. DESIGN "Rules of charging" 6.
#include <linux/fs.h>

#include <cstdio>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "ops.h"

namespace vreserve {

namespace {

// Both sides of a rename.
struct Move {
  Inode& from_directory;
  const char* from_name;
  Inode& to_directory;
  const char* to_name;
  unsigned flags;
  SharedFd from_fd{};
  SharedFd to_fd{};
  Inode* moved = nullptr;     // held
  Inode* replaced = nullptr;  // held; of EXCHANGE the other one; null: the name is free
  struct stat moved_st {};
  struct stat replaced_st {};

  [[nodiscard]] bool exchange() const noexcept { return (flags & RENAME_EXCHANGE) != 0; }
};

void lock_both(Inode* a, Inode* b) noexcept {
  if (a == b || b == nullptr) return a->lock.lock();
  if (std::less<>{}(b, a)) std::swap(a, b);
  a->lock.lock();
  b->lock.lock();
}

void unlock_both(Inode* a, Inode* b) noexcept {
  a->lock.unlock();
  if (b != nullptr && b != a) b->lock.unlock();
}

// Finds what is at both names; positive errno.
int look(Engine& engine, Move& move) noexcept {
  int error = 0;
  move.from_fd = engine.inodes.directory(move.from_directory, error);
  if (!move.from_fd) return error;
  move.to_fd = engine.inodes.directory(move.to_directory, error);
  if (!move.to_fd) return error;
  move.moved = engine.inodes.look_up(move.from_directory, move.from_fd->get(), move.from_name, move.moved_st, 0, error);
  if (move.moved == nullptr) return error;
  move.replaced = engine.inodes.look_up(move.to_directory, move.to_fd->get(), move.to_name, move.replaced_st, 0, error);
  return error == ENOENT ? 0 : error;
}

// One inode goes to another lot: EXDEV where the rules make it a copy.
int may_join(const Inode& inode, const struct stat& st, const PathStep& from, const PathStep& to) noexcept {
  if (inode.is_directory()) return to.node != nullptr || from.lot != to.lot ? EXDEV : 0;
  return st.st_nlink > 1 && from.lot != to.lot ? EXDEV : 0;
}

void add_move(std::vector<Delta>& change, const Inode& inode, LotId from, LotId to) {
  if (from == to || inode.is_directory()) return;
  const bool pending = inode.open && inode.open->writers > 0;
  const std::int64_t bytes = inode.size;
  change.push_back({from, -bytes, -1, pending ? -bytes : 0, pending ? -1 : 0});
  change.push_back({to, bytes, 1, pending ? bytes : 0, pending ? 1 : 0});
}

// True when one of the two went between the look and its lock: Engine::unlink does not ask the kernel, which lets nobody
// else at the names. Both locks must be held.
bool was_taken(Move& move) noexcept {
  if (move.moved->unlinked) return true;
  Inode* const replaced = move.replaced;
  if (replaced == nullptr || replaced->is_directory()) return false;
  return replaced->unlinked || !is_still(*replaced, move.to_fd->get(), move.to_name, move.replaced_st);
}

// False: nothing was done, and it must look again.
bool rename(Engine& engine, Request& request, Move& move) noexcept {
  const auto fail = [&request](int error) {
    request.fail(error);
    return true;
  };
  if (int error = check_name(engine, move.from_directory, move.from_name); error != 0) return fail(error);
  if (int error = check_name(engine, move.to_directory, move.to_name); error != 0) return fail(error);
  if ((move.flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0) return fail(EINVAL);
  if (move.from_directory.root != move.to_directory.root) return fail(EXDEV);
  if (engine.parked(request, move.from_directory, move.from_name)) return true;
  if (engine.parked(request, move.to_directory, move.to_name)) return true;
  if (const int error = look(engine, move); error != 0) return fail(error);
  if (move.moved->is_root || (move.replaced != nullptr && move.replaced->is_root)) return fail(EBUSY);  // as a mount point
  if (move.moved->is_directory() && engine.inodes.leads_to_graft(*move.moved)) return fail(EBUSY);
  if (move.exchange() && move.replaced != nullptr && engine.inodes.leads_to_graft(*move.replaced)) return fail(EBUSY);
  if (move.moved->is_directory() && engine.parked_above(request, *move.moved)) return true;
  if (move.replaced != nullptr && move.replaced->is_directory() && engine.parked_above(request, *move.replaced)) return true;
  SharedFd still;  // for who stands in a directory that is replaced
  if (int ignored = 0; move.replaced != nullptr && move.replaced->is_directory()) {
    still = engine.inodes.directory(*move.replaced, ignored);
  }

  const bool moves_directory = move.moved->is_directory();
  const PathStep from = engine.step_of_entry(move.from_directory, move.from_name, moves_directory);
  const PathStep to = engine.step_of_entry(move.to_directory, move.to_name, moves_directory);
  // A bound path, or one that leads to one, stays where it is, like a mount point.
  if (from.node != nullptr || (move.exchange() && to.node != nullptr)) return fail(EBUSY);
  if (const int error = may_join(*move.moved, move.moved_st, from, to); error != 0) return fail(error);
  LotId back_to = kNoLot;  // where the other one goes; it may be of another kind
  if (move.exchange() && move.replaced != nullptr) {
    const bool is_directory = move.replaced->is_directory();
    const PathStep theirs = engine.step_of_entry(move.to_directory, move.to_name, is_directory);
    const PathStep ours = engine.step_of_entry(move.from_directory, move.from_name, is_directory);
    if (const int error = may_join(*move.replaced, move.replaced_st, theirs, ours); error != 0) return fail(error);
    back_to = ours.lot;
  }

  const bool same = move.moved == move.replaced;  // two names of one file: nothing happens
  std::vector<Delta> change;
  std::vector<Delta> back;
  bool admitted = false;
  for (int attempt = 0; attempt < 2 && !admitted; ++attempt) {
    if (attempt == 1) engine.fresh_look(request.worker(), engine.inodes.pool_of(*move.moved));
    lock_both(move.moved, move.replaced);
    if (was_taken(move)) {
      unlock_both(move.moved, move.replaced);
      return false;
    }
    change.clear();
    if (!same) {
      add_move(change, *move.moved, engine.lot_of(*move.moved), to.lot);
      if (move.replaced != nullptr) {
        const LotId theirs = engine.lot_of(*move.replaced);
        if (move.exchange()) add_move(change, *move.replaced, theirs, back_to);
      }
    }
    // The replaced file's bytes make room for the moved one's, unless someone keeps it open.
    back = change;
    for (Delta& delta : back) {
      delta = {delta.lot, -delta.bytes, -delta.objects, -delta.pending_bytes, -delta.pending_objects};
    }
    const bool frees = !same && !change.empty() && !move.exchange() && move.replaced != nullptr &&
                       !move.replaced->is_directory() && move.replaced_st.st_nlink == 1 &&
                       (!move.replaced->open || move.replaced->open->opens == 0);
    if (frees) {
      // As one net change with the refund, and the refund taken back at once: lose_name makes it when it is true.
      const Delta refund{engine.lot_of(*move.replaced), -move.replaced->size, -1, 0, 0};
      change.push_back(refund);
      admitted = !engine.charging() || engine.meter.apply(change) == 0;
      if (admitted && engine.charging()) {
        const Delta taken{refund.lot, -refund.bytes, -refund.objects, 0, 0};
        (void)engine.meter.apply(std::span(&taken, 1), true);
        engine.meter.landed(taken.bytes, engine.inodes.pool_of(*move.moved));
      }
    } else {
      admitted = change.empty() || !engine.charging() || engine.meter.apply(change) == 0;
    }
    if (!admitted) unlock_both(move.moved, move.replaced);
  }
  if (!admitted) return fail(ENOSPC);

  Fd spare;
  if (move.replaced != nullptr && !same) spare = pin(*move.replaced, move.to_fd->get(), move.to_name, move.replaced_st);
  // Its last name goes with a plain rename, or the empty directory's only one.
  const bool last = move.replaced != nullptr && !same && !move.exchange() &&
                    (move.replaced->is_directory() || move.replaced_st.st_nlink == 1);
  if (last) engine.inodes.unhash(*move.replaced);
  const long result = ::syscall(SYS_renameat2, move.from_fd->get(), move.from_name, move.to_fd->get(), move.to_name,
                                move.flags);
  const int error = result == 0 ? 0 : errno;
  if (error != 0) {
    if (last) engine.inodes.rehash(*move.replaced);
    if (!back.empty() && engine.charging()) (void)engine.meter.apply(back, true);
  } else if (!same) {
    engine.meter.touch(to.lot);
    const auto has_name = [](const Inode& inode, const Inode& directory, const char* name) {
      return inode.name == nullptr || (inode.parent == &directory && std::strcmp(inode.name, name) == 0);
    };
    if (has_name(*move.moved, move.from_directory, move.from_name)) {
      engine.inodes.set_name(*move.moved, &move.to_directory, move.to_name);
    }
    if (move.replaced != nullptr && move.exchange()) {
      if (has_name(*move.replaced, move.to_directory, move.to_name)) {
        engine.inodes.set_name(*move.replaced, &move.from_directory, move.from_name);
      }
    } else if (move.replaced != nullptr) {
      if (move.replaced->is_directory()) {
        move.replaced->unlinked = true;
        engine.inodes.clear_name(*move.replaced);
      } else {
        lose_name(engine, *move.replaced, move.to_directory, move.to_name, move.replaced_st, std::move(spare));
      }
    }
  }
  unlock_both(move.moved, move.replaced);
  request.finish(-error);
  return true;
}

void rename(Engine& engine, Request& request, Inode& parent, std::uint64_t newdir, unsigned flags,
            std::size_t names) noexcept {
  if (is_virtual(newdir)) return request.fail(engine.blobs.is_of_store(newdir) ? EXDEV : EPERM);  // EXDEV: mv copies
  Inode* const to = engine.inodes.find(newdir);
  if (to == nullptr) return request.fail(ESTALE);
  const char* const name = request.text(names);
  for (bool done = false; !done;) {
    Move move{parent, name, *to, request.text(names + std::strlen(name) + 1), flags};
    done = rename(engine, request, move);
    if (move.moved != nullptr) engine.inodes.drop(*move.moved);
    if (move.replaced != nullptr) engine.inodes.drop(*move.replaced);
  }
}

}  // namespace

void op_rename(Engine& engine, Request& request, Inode& parent) noexcept {
  const auto* const in = request.as<fuse::RenameIn>();
  if (in == nullptr) return request.fail(EINVAL);
  rename(engine, request, parent, in->newdir, 0, sizeof *in);
}

void op_rename2(Engine& engine, Request& request, Inode& parent) noexcept {
  const auto* const in = request.as<fuse::Rename2In>();
  if (in == nullptr) return request.fail(EINVAL);
  rename(engine, request, parent, in->newdir, in->flags, sizeof *in);
}

void op_link(Engine& engine, Request& request, Inode& parent) noexcept {
  const auto* const in = request.as<fuse::LinkIn>();
  if (in == nullptr) return request.fail(EINVAL);
  const char* const name = request.text(sizeof *in);
  if (const int error = check_name(engine, parent, name); error != 0) return request.fail(error);
  Inode* const inode = is_virtual(in->oldnodeid) ? nullptr : engine.inodes.find(in->oldnodeid);
  if (inode == nullptr) return request.fail(EXDEV);
  if (parent.root != inode->root) return request.fail(EXDEV);
  if (engine.parked(request, parent, name) || engine.parked(request, *inode)) return;
  int error = 0;
  const SharedFd directory = engine.inodes.directory(parent, error);
  if (!directory) return request.fail(error);
  const LotId lot = engine.step_of_entry(parent, name, false).lot;
  struct stat st {};
  inode->lock.lock();
  if (engine.lot_of(*inode) != lot) {
    error = EXDEV;
  } else {
    const Location at = engine.inodes.locate(*inode);
    error = at.error;
    const bool was_unlinked = inode->unlinked;
    if (error == 0) engine.inodes.rehash(*inode);  // an O_TMPFILE is found by its number from its first name on
    if (error == 0 && ::linkat(at.fd, at.name, directory->get(), name, *at.name == 0 ? AT_EMPTY_PATH : 0) != 0) {
      error = errno;
      if (error == ENOENT && *at.name == 0) {  // an ordinary user may not use AT_EMPTY_PATH
        error = ::linkat(AT_FDCWD, ProcPath(at.fd, "").text, directory->get(), name, AT_SYMLINK_FOLLOW) == 0 ? 0 : errno;
      }
    }
    if (error != 0 && was_unlinked) engine.inodes.unhash(*inode);
    if (error == 0 && ::fstatat(directory->get(), name, &st, AT_SYMLINK_NOFOLLOW) != 0) error = errno;
    if (error == 0) {
      inode->nlink = static_cast<std::uint32_t>(st.st_nlink);
      engine.meter.touch(lot);  // a count may have passed the new name, and not the old one yet
      if (inode->name == nullptr) {
        inode->unlinked = false;  // an O_TMPFILE that got its name
        engine.inodes.set_name(*inode, &parent, name);
      }
    }
  }
  inode->lock.unlock();
  if (error != 0) return request.fail(error);
  Inode* const known = engine.inodes.look_up(parent, directory->get(), name, st, 1, error);
  if (known == nullptr) return request.fail(error);
  fuse::EntryOut out{};
  fill(*known, st, out);
  request.reply(out);
}

}  // namespace vreserve
