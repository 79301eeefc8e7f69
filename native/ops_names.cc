// Names in directories: looking them up, making them and taking them away.
#include <cstring>
#include <ctime>

#include "creds.h"
#include "ops.h"

namespace vreserve {

void fill(const struct stat& st, std::uint32_t root, fuse::Attr& attr) noexcept {
  attr = {};
  attr.ino = shown_number(root, st.st_ino);
  attr.size = static_cast<std::uint64_t>(st.st_size);
  attr.blocks = static_cast<std::uint64_t>(st.st_blocks);
  attr.atime = static_cast<std::uint64_t>(st.st_atim.tv_sec);
  attr.mtime = static_cast<std::uint64_t>(st.st_mtim.tv_sec);
  attr.ctime = static_cast<std::uint64_t>(st.st_ctim.tv_sec);
  attr.atimensec = static_cast<std::uint32_t>(st.st_atim.tv_nsec);
  attr.mtimensec = static_cast<std::uint32_t>(st.st_mtim.tv_nsec);
  attr.ctimensec = static_cast<std::uint32_t>(st.st_ctim.tv_nsec);
  attr.mode = st.st_mode;
  attr.nlink = static_cast<std::uint32_t>(st.st_nlink);
  attr.uid = st.st_uid;
  attr.gid = st.st_gid;
  attr.rdev = static_cast<std::uint32_t>(st.st_rdev);
  attr.blksize = static_cast<std::uint32_t>(st.st_blksize);
}

std::uint64_t attr_seconds(const Inode& inode) noexcept {
  return inode.open && inode.open->writers > 0 ? 0 : kCachedSeconds;
}

void fill(Inode& inode, const struct stat& st, fuse::EntryOut& entry) noexcept {
  entry = {};
  entry.nodeid = inode.nodeid();
  entry.entry_valid = kCachedSeconds;
  fill(st, inode.root, entry.attr);
  if (inode.is_root) return;  // the kernel asks for its attributes, where nobody else waits for the answer
  inode.lock.lock_shared();
  entry.attr_valid = attr_seconds(inode);
  inode.lock.unlock_shared();
}

int see(Engine& engine, Inode& inode, const Inode& parent, struct stat& st) noexcept {
  if (inode.root == parent.root) return 0;
  const Root& root = engine.inodes.root_of(inode);
  if (const int error = root.trouble; error != 0) return error;
  st = engine.inodes.shown(root);
  return 0;
}

bool is_own_name(Engine& engine, Inode& parent, const char* name, LotId& scope) noexcept {
  if (std::strcmp(name, ".vreserve") != 0) return false;
  scope = kDefaultLot;
  if (&parent == &engine.inodes.root()) return true;
  parent.lock.lock_shared();
  const PathStep step = engine.step_of(parent);
  parent.lock.unlock_shared();
  scope = step.lot;
  return engine.paths.is_bound(step.node);
}

int check_name(Engine& engine, Inode& parent, const char* name) noexcept {
  LotId scope = kNoLot;
  if (*name == 0) return EINVAL;
  return is_own_name(engine, parent, name, scope) || engine.is_being_made(parent, name) ? EPERM : 0;
}

void op_lookup(Engine& engine, Request& request, Inode& parent) noexcept {
  const char* const name = request.text(0);
  LotId scope = kNoLot;
  if (is_own_name(engine, parent, name, scope)) {
    fuse::EntryOut out{};
    Virtual::fill(engine.virtuals.top(scope, engine.path_of(parent)), out);
    return request.reply(out);
  }
  if (engine.is_being_made(parent, name)) return request.fail(ENOENT);
  int error = 0;
  const SharedFd directory = engine.inodes.directory(parent, error);
  if (!directory) return request.fail(error);
  struct stat st {};
  Inode* const inode = engine.inodes.look_up(parent, directory->get(), name, st, 1, error);
  if (inode == nullptr) {
    if (error != ENOENT || std::strcmp(name, ".vreserve") == 0) return request.fail(error);
    fuse::EntryOut absent{};  // nodeid 0: the kernel remembers that there is none
    absent.entry_valid = kCachedSeconds;
    return request.reply(absent);
  }
  if (error = see(engine, *inode, parent, st); error != 0) {
    engine.inodes.forget(*inode, 1);
    return request.fail(error);
  }
  fuse::EntryOut out{};
  fill(*inode, st, out);
  request.reply(out);
}

void op_forget(Engine& engine, Request& request) noexcept {
  request.defer();  // has no answer
  const auto forget = [&engine](std::uint64_t nodeid, std::uint64_t lookups) {
    if (is_virtual(nodeid)) return engine.virtuals.forget(nodeid, lookups);
    if (Inode* const inode = engine.inodes.find(nodeid); inode != nullptr && inode != &engine.inodes.root()) {
      engine.inodes.forget(*inode, lookups);
    }
  };
  if (request.header().opcode == fuse::FORGET) {
    if (const auto* const in = request.as<fuse::ForgetIn>(); in != nullptr) forget(request.nodeid(), in->nlookup);
    return;
  }
  const auto* const in = request.as<fuse::BatchForgetIn>();
  if (in == nullptr) return;
  const auto* const entries = reinterpret_cast<const fuse::ForgetOne*>(in + 1);
  const std::size_t most = (request.body().size() - sizeof *in) / sizeof *entries;
  for (std::size_t i = 0; i < in->count && i < most; ++i) forget(entries[i].nodeid, entries[i].nlookup);
}

void op_interrupt(Engine& engine, Request& request) noexcept {
  request.defer();  // has no answer of its own
  if (const auto* const in = request.as<fuse::InterruptIn>(); in != nullptr) engine.virtuals.interrupt(in->unique);
}

void op_readlink(Engine& engine, Request& request, Inode& inode) noexcept {
  char target[4096];
  inode.lock.lock_shared();
  const Location at = engine.inodes.locate(inode);
  const ssize_t length = at.error != 0 ? -at.error : checked(::readlinkat(at.fd, at.name, target, sizeof target));
  inode.lock.unlock_shared();
  if (length < 0) return request.fail(static_cast<int>(-length));
  request.reply(target, static_cast<std::size_t>(length));
}

namespace {

// Makes an entry that is not a regular open file: `make` does it with the directory's descriptor, 0 or -1 and errno.
template <typename Make>
void make_entry(Engine& engine, Request& request, Inode& parent, const char* name, bool object, mode_t umask,
                Make make) noexcept {
  if (const int error = check_name(engine, parent, name); error != 0) return request.fail(error);
  if (engine.parked(request, parent, name)) return;
  int error = 0;
  const SharedFd directory = engine.inodes.directory(parent, error);
  if (!directory) return request.fail(error);
  Delta one{engine.step_of_entry(parent, name, !object).lot, 0, 1, 0, 0};
  const PoolId pool = engine.inodes.pool_of(parent);
  if (object && engine.charge(std::span(&one, 1), request.worker(), pool) != 0) return request.fail(ENOSPC);
  {
    const CreateAs caller(engine.privileged(), request.header().uid, request.header().gid, umask);
    error = make(directory->get()) == 0 ? 0 : errno;
  }
  one.objects = -1;
  if (error != 0) {
    if (object) engine.refund(one);
    return request.fail(error);
  }
  struct stat st {};
  Inode* const inode = engine.inodes.look_up(parent, directory->get(), name, st, 1, error);
  if (inode == nullptr) return request.fail(EIO);  // it is made and charged; the next lookup finds it
  fuse::EntryOut out{};
  fill(*inode, st, out);
  request.reply(out);
}

}  // namespace

void op_symlink(Engine& engine, Request& request, Inode& parent) noexcept {
  const char* const name = request.text(0);
  const char* const target = request.text(std::strlen(name) + 1);
  make_entry(engine, request, parent, name, true, 0,
             [&](int directory) { return ::symlinkat(target, directory, name); });
}

void op_mknod(Engine& engine, Request& request, Inode& parent) noexcept {
  const auto* const in = request.as<fuse::MknodIn>();
  if (in == nullptr) return request.fail(EINVAL);
  const char* const name = request.text(sizeof *in);
  make_entry(engine, request, parent, name, true, in->umask,
             [&](int directory) { return ::mknodat(directory, name, in->mode, in->rdev); });
}

void op_mkdir(Engine& engine, Request& request, Inode& parent) noexcept {
  const auto* const in = request.as<fuse::MkdirIn>();
  if (in == nullptr) return request.fail(EINVAL);
  const char* const name = request.text(sizeof *in);
  const std::vector<std::string>* const layout = engine.layout_of(parent, name);
  make_entry(engine, request, parent, name, false, in->umask, [&](int directory) {
    return layout == nullptr ? ::mkdirat(directory, name, in->mode) : engine.make_layout(directory, name, in->mode, *layout);
  });
}

void op_unlink(Engine& engine, Request& request, Inode& parent) noexcept {
  const char* const name = request.text(0);
  if (const int error = check_name(engine, parent, name); error != 0) return request.fail(error);
  if (engine.parked(request, parent, name)) return;
  int error = 0;
  const SharedFd directory = engine.inodes.directory(parent, error);
  if (!directory) return request.fail(error);
  struct stat st {};
  Inode* const victim = engine.inodes.look_up(parent, directory->get(), name, st, 0, error);
  if (victim == nullptr) return request.fail(error);
  if (victim->is_root) {
    engine.inodes.drop(*victim);
    return request.fail(EBUSY);
  }
  victim->lock.lock();
  // The kernel lets nobody else at the name meanwhile, but Engine::unlink does not ask it.
  if (victim->unlinked || (victim->nlink != st.st_nlink && !is_still(*victim, directory->get(), name, st))) {
    victim->lock.unlock();
    engine.inodes.drop(*victim);
    return request.fail(ENOENT);
  }
  (void)engine.lot_of(*victim);  // an unlinked inode stays with the lot that it has now
  Fd spare = pin(*victim, directory->get(), name, st);
  if (st.st_nlink == 1) engine.inodes.unhash(*victim);
  error = ::unlinkat(directory->get(), name, 0) == 0 ? 0 : errno;
  if (error != 0) engine.inodes.rehash(*victim);
  if (error == 0) lose_name(engine, *victim, parent, name, st, std::move(spare));
  victim->lock.unlock();
  engine.inodes.drop(*victim);
  request.finish(-error);
}

void op_rmdir(Engine& engine, Request& request, Inode& parent) noexcept {
  const char* const name = request.text(0);
  if (const int error = check_name(engine, parent, name); error != 0) return request.fail(error);
  if (engine.parked(request, parent, name)) return;
  int error = 0;
  const SharedFd directory = engine.inodes.directory(parent, error);
  if (!directory) return request.fail(error);
  struct stat st {};
  Inode* const victim = engine.inodes.look_up(parent, directory->get(), name, st, 0, error);
  if (victim == nullptr) return request.fail(error);
  if (victim->is_root) {  // as a mount point
    engine.inodes.drop(*victim);
    return request.fail(EBUSY);
  }
  if (engine.parked_above(request, *victim)) return engine.inodes.drop(*victim);
  const SharedFd still = engine.inodes.directory(*victim, error);  // for who stands in it
  victim->lock.lock();
  engine.inodes.unhash(*victim);
  error = ::unlinkat(directory->get(), name, AT_REMOVEDIR) == 0 ? 0 : errno;
  if (error != 0) engine.inodes.rehash(*victim);
  if (error == 0) {
    victim->unlinked = true;
    engine.inodes.clear_name(*victim);
  }
  victim->lock.unlock();
  engine.inodes.drop(*victim);
  request.finish(-error);
}

bool is_still(const Inode& inode, int directory, const char* name, struct stat& st) noexcept {
  return ::fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == inode.number;
}

Fd pin(Inode& inode, int directory, const char* name, const struct stat& st) noexcept {
  if (inode.open && (inode.open->fd || inode.open->pin)) return {};
  if (!inode.open) {
    if (inode.is_regular() && st.st_nlink == 1) return {};  // its blocks must go with its name
    if (inode.name != nullptr && std::strcmp(inode.name, name) != 0) return {};  // it is known by another one
  }
  Fd fd(::openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!inode.open) return fd;
  inode.open->pin = std::move(fd);
  return {};
}

void note_last(Inode& inode, const struct stat& st) noexcept {
  inode.last = std::make_unique<struct stat>(st);
  inode.last->st_nlink = 0;
  ::clock_gettime(CLOCK_REALTIME_COARSE, &inode.last->st_ctim);
}

void lose_name(Engine& engine, Inode& inode, const Inode& parent, const char* name, const struct stat& st,
               Fd&& spare) noexcept {
  inode.nlink = static_cast<std::uint32_t>(st.st_nlink) - 1;
  // What it holds stays with it while it has other names, or is open; a count may have seen it by this name all the same.
  engine.meter.touch(engine.lot_of(inode));
  if (inode.nlink == 0) {
    inode.unlinked = true;
    engine.inodes.clear_name(inode);
    if (!inode.open && inode.is_regular()) note_last(inode, st);
    if (inode.open && inode.open->opens > 0) {
      engine.inodes.set_held(inode, true);
    } else {
      engine.refund_unlinked(inode);
    }
  } else if (inode.parent == &parent && inode.name != nullptr && std::strcmp(inode.name, name) == 0) {
    engine.inodes.clear_name(inode);
  }
  if (spare && inode.name == nullptr) engine.inodes.keep_descriptor(inode, std::move(spare));
}

}  // namespace vreserve
