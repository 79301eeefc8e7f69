// Blobs are opened and closed: asked for, opened where their data are, shared, sealed, and released.
#include <fcntl.h>

#include <utility>
#include <vector>

#include "blobs.h"
#include "descriptors.h"
#include "ops.h"

namespace vreserve {

namespace {

constexpr std::uint32_t kWriting = fuse::FOPEN_DIRECT_IO | fuse::FOPEN_PARALLEL_DIRECT_WRITES;

bool writes(std::uint32_t flags) noexcept { return (flags & O_ACCMODE) != O_RDONLY; }

std::uint32_t real_flags(bool for_writing) noexcept { return for_writing ? O_RDWR : O_RDONLY; }

fuse::OpenOut reply_of(const Blob& blob, bool for_writing) noexcept {
  if (!for_writing) return blob.reading;
  fuse::OpenOut out{};
  out.fh = blob.id;
  out.open_flags = kWriting;
  return out;
}

std::uint64_t inode_number(const VirtualNode& node) noexcept {
  fuse::Attr attr{};
  Virtual::fill(node, attr);
  return attr.ino;
}

}  // namespace

// --- asking -----------------------------------------------------------------------------------------------------------

void Blobs::create(Request& request, const VirtualNode& directory) noexcept {
  const auto* const in = request.as<fuse::CreateIn>();
  if (in == nullptr) return request.fail(EINVAL);
  if (const auto answered = answer_of(request.header().unique)) return reply_created(request, directory, *answered);
  VirtualQuestion question = Virtual::question_of(directory, VirtualOp::create);
  question.path = Virtual::path_in(directory, request.text(sizeof *in));
  if (const int error = read_caller(static_cast<pid_t>(request.header().pid), question.caller); error != 0) {
    return request.fail(error);
  }
  // After ESTALE the kernel looks the name up again, and opens what is there.
  ask(request, std::move(question), (in->flags & O_EXCL) != 0 ? EEXIST : ESTALE);
}

void Blobs::open(Request& request, const VirtualNode& node) noexcept {
  const auto* const in = request.as<fuse::OpenIn>();
  if (in == nullptr) return request.fail(EINVAL);
  if (const auto answered = answer_of(request.header().unique)) return reply_opened(request, node, *answered, *in);
  if (const Shared blob = of_node(node.id); blob && join(request, *blob, *in)) return;
  VirtualQuestion question = Virtual::question_of(node, VirtualOp::open);
  question.truncate = (in->flags & O_TRUNC) != 0;
  question.for_writing = writes(in->flags) || question.truncate;
  const int unseen = read_caller(static_cast<pid_t>(request.header().pid), question.caller);
  if (unseen != 0 && question.for_writing) return request.fail(unseen);
  ask(request, std::move(question), EEXIST);
}

void Blobs::ask(Request& request, VirtualQuestion&& question, int if_exists) noexcept {
  const auto kept = std::make_shared<Kept>(request.keep());
  const int fd = request.fd();
  const std::uint64_t unique = request.header().unique;
  const pid_t opener = question.caller.process;
  engine_.virtuals.ask(request, std::move(question), [=, this](const VirtualAnswer& answer) {
    if (answer.error != 0) {
      engine_.device.answer(fd, unique, answer.error == EEXIST ? -if_exists : -answer.error, {});
      return;
    }
    {
      const std::lock_guard guard(mutex_);
      answered_[unique] = std::make_shared<Answered>(Answered{answer, opener});
    }
    std::vector<Kept> one;
    one.push_back(std::move(*kept));
    resume(std::move(one));
  });
}

std::shared_ptr<Blobs::Answered> Blobs::answer_of(std::uint64_t unique) noexcept {
  const std::shared_lock guard(mutex_);
  const auto found = answered_.find(unique);
  return found == answered_.end() ? nullptr : found->second;
}

void Blobs::forget_answer(std::uint64_t unique) noexcept {
  const std::lock_guard guard(mutex_);
  answered_.erase(unique);
}

void Blobs::resume(std::vector<Kept>&& kept) noexcept {
  if (kept.empty()) return;
  thread_.post([this, all = std::make_shared<std::vector<Kept>>(std::move(kept))] {
    if (!enlisted_) enlisted_ = std::make_unique<Enlisted>(engine_.device);
    for (Kept& each : *all) engine_.serve_kept(each, enlisted_->worker());
  });
}

// --- opening ----------------------------------------------------------------------------------------------------------

bool Blobs::open_real(Request& request, const Answered& answered, bool for_writing, Shared& blob, int& error) noexcept {
  blob = std::make_shared<Blob>(engine_.inodes);
  blob->handle = answered.answer.handle;
  blob->opener = answered.opener;
  blob->for_writing = for_writing;
  error = -engine_.hold_file(answered.answer.real, blob->real);
  if (error != 0) return true;
  if (for_writing && engine_.parked(request, *blob->real)) return false;  // the answer is still known when it comes again
  error = -open_once(engine_, request, *blob->real, {real_flags(for_writing), 0}, blob->reading);
  // A node may be opened again when its blob has become another: nothing may be left of the first in the kernel's cache.
  blob->reading.open_flags &= ~fuse::FOPEN_KEEP_CACHE;
  if (for_writing) blob->reading = {0, kWriting | fuse::FOPEN_NOFLUSH, 0};
  blob->opens = error == 0 ? 1 : 0;
  return true;
}

void Blobs::reply_created(Request& request, const VirtualNode& directory, const Answered& answered) noexcept {
  Shared blob;
  int error = 0;
  if (!open_real(request, answered, true, blob, error)) return;
  forget_answer(request.header().unique);
  if (error != 0) {
    tell_refused(directory, answered.answer.handle);
    return request.fail(error);
  }
  const char* const name = request.text(sizeof(fuse::CreateIn));
  VirtualAnswer made = answered.answer;
  made.kind = VirtualKind::blob;
  blob->node = engine_.virtuals.enter(directory.scope, directory.directory, Virtual::path_in(directory, name), made);
  const bool known = enter(blob) == blob;
  if (known) {
    struct {
      fuse::EntryOut entry;
      fuse::OpenOut open;
    } out{};
    Virtual::fill(blob->node, out.entry);
    out.open = reply_of(*blob, true);
    request.reply(out);
    if (!request.unheard()) return;
  } else {
    request.fail(ENOTCONN);
  }
  undo(blob);
  engine_.virtuals.forget(blob->node.id, 1);
}

void Blobs::reply_opened(Request& request, VirtualNode node, const Answered& answered, const fuse::OpenIn& in) noexcept {
  const bool truncates = (in.flags & O_TRUNC) != 0;
  const bool for_writing = writes(in.flags) || truncates;
  Shared blob;
  int error = 0;
  if (!open_real(request, answered, for_writing, blob, error)) return;
  forget_answer(request.header().unique);
  if (error != 0) {
    tell_refused(node, answered.answer.handle);
    return request.fail(error);
  }
  const bool became = node.kind != VirtualKind::blob;
  if (became) {
    node.kind = VirtualKind::blob;  // for who writes it, it is one from now on
    node.content.reset();
  }
  blob->real->lock.lock_shared();
  const std::int64_t size = blob->real->size;
  blob->real->lock.unlock_shared();
  bool renewed = size != node.size;
  // Who appends does it where the kernel believes the end to be. It looks again, once.
  if (for_writing && !truncates && renewed) error = ESTALE;
  node.size = size;
  if (const VirtualAnswer& now = answered.answer; now.has_node) {
    renewed = renewed || now.mtime_ms != node.mtime_ms || now.mode != node.mode || now.uid != node.uid || now.gid != node.gid;
    node.mtime_ms = now.mtime_ms;
    node.mode = now.mode;
    node.uid = now.uid;
    node.gid = now.gid;
  }
  blob->node = node;
  while (error == 0) {
    const Shared other = enter(blob);
    if (other == blob) break;
    if (other == nullptr) {
      error = ENOTCONN;
    } else {
      // Somebody was faster with the same node.
      if (join(request, *other, in)) return undo(blob);
      leave(*other);
    }
  }
  if (error == 0) {
    if (renewed || became) {
      engine_.virtuals.renew(node);
      engine_.device.invalidate_attributes(node.id);
    }
    request.reply(reply_of(*blob, for_writing));
    if (!request.unheard()) return;
  } else {
    request.fail(error);
  }
  undo(blob);
}

bool Blobs::join(Request& request, Blob& blob, const fuse::OpenIn& in) noexcept {
  const bool for_writing = writes(in.flags);
  const bool truncates = (in.flags & O_TRUNC) != 0;
  const InodeGuard guard(blob.life);
  if (blob.opens == 0) return false;
  if ((for_writing || truncates) && !blob.for_writing) {
    request.fail(ESTALE);  // the kernel holds the node to its backing file
    return true;
  }
  if (truncates) {
    change(request, blob, [&] { resize(request, blob.node, blob, 0); });
  } else if (for_writing && !blob.gate.is_open()) {
    request.fail(EPERM);
  }
  if (request.deferred() || request.failure() != 0) return true;
  ++blob.opens;
  request.reply(reply_of(blob, for_writing));
  if (request.unheard()) --blob.opens;
  return true;
}

Blobs::Shared Blobs::enter(const Shared& blob) noexcept {
  const std::lock_guard guard(mutex_);
  if (gone_) return nullptr;
  const auto [at, fresh] = by_node_.try_emplace(blob->node.id, blob);
  if (!fresh) return at->second;
  blob->id = kBlobBit | next_id_++;
  blob->reading.fh = blob->id;
  by_id_[blob->id] = blob;
  return blob;
}

void Blobs::leave(const Blob& blob) noexcept {
  Shared last;  // goes after the mutex
  const std::lock_guard guard(mutex_);
  if (const auto found = by_node_.find(blob.node.id); found != by_node_.end() && found->second.get() == &blob) {
    last = std::move(found->second);
    by_node_.erase(found);
  }
  by_id_.erase(blob.id);
}

// --- closing ----------------------------------------------------------------------------------------------------------

void Blobs::undo(const Shared& blob) noexcept {
  {
    const InodeGuard guard(blob->life);
    blob->opens = 0;
    close_once(engine_, *blob->real, real_flags(blob->for_writing), nullptr);
  }
  leave(*blob);
  tell_refused(blob->node, blob->handle);
}

void Blobs::flush(Request& request, const Shared& blob) noexcept {
  if (!blob->for_writing || !blob->gate.is_open()) return request.done();
  if (engine_.parked(request, *blob->real)) return;  // behind the writes that came before it
  const auto thread = static_cast<pid_t>(request.header().pid);
  if (is_killed(blob->opener, thread)) blob->gate.fail(EINTR);
  if (!is_last_of(blob->opener, thread, inode_number(blob->node))) return request.done();
  engine_.device.settle(request.worker(), kMainPool);  // what was closed before takes its place before
  Gate<Kept>::Use use;
  if (!blob->gate.seal(use)) return request.done();
  VirtualQuestion question = Virtual::question_of(blob->node, VirtualOp::flush);
  question.handle = blob->handle;
  question.written = use.written;
  question.failed = use.failed;
  const int fd = request.fd();
  const std::uint64_t unique = request.header().unique;
  engine_.virtuals.ask(request, std::move(question), [this, fd, unique, blob](const VirtualAnswer& answer) {
    const bool again = answer.error == 0 && answer.again;
    std::vector<Kept> waiting = blob->gate.decide(again);
    engine_.device.answer(fd, unique, -answer.error, {});
    if (again) return resume(std::move(waiting));
    for (const Kept& kept : waiting) {
      engine_.device.answer(kept.fd, reinterpret_cast<const fuse::InHeader*>(kept.message.data())->unique, -EPERM, {});
    }
  });
}

void Blobs::release(Request& request, const Shared& blob) noexcept {
  if (engine_.parked(request, *blob->real)) return;
  close(*blob, &request);
}

void Blobs::close(Blob& blob, Request* release) noexcept {
  Gate<Kept>::Use use;
  {
    const InodeGuard guard(blob.life);
    if (blob.opens == 0 || --blob.opens != 0) {
      if (release != nullptr) release->done();
      return;
    }
    // A change has been answered by now, but its thread may not be through with it.
    use = blob.gate.settle();
    if (blob.for_writing) {
      const fuse::AttrOut last = attributes(blob.node);
      VirtualNode node = blob.node;
      node.size = static_cast<std::int64_t>(last.attr.size);
      node.mtime_ms = static_cast<std::int64_t>(last.attr.mtime) * 1000 + last.attr.mtimensec / 1'000'000;
      engine_.virtuals.renew(node);
    }
    close_once(engine_, *blob.real, real_flags(blob.for_writing), release);
  }
  leave(blob);
  VirtualQuestion question = Virtual::question_of(blob.node, VirtualOp::release);
  question.handle = blob.handle;
  question.written = use.written;
  question.failed = use.failed;
  engine_.virtuals.tell(std::move(question));
}

void Blobs::tell_refused(const VirtualNode& node, std::uint64_t handle) noexcept {
  VirtualQuestion question = Virtual::question_of(node, VirtualOp::release);
  question.of_blob = true;
  question.handle = handle;
  question.opened = false;
  engine_.virtuals.tell(std::move(question));
}

void Blobs::close_all() noexcept {
  std::vector<Shared> all;
  {
    const std::lock_guard guard(mutex_);
    gone_ = true;
    for (const auto& [id, blob] : by_id_) all.push_back(blob);
  }
  for (const Shared& blob : all) {
    {
      const InodeGuard guard(blob->life);
      if (blob->opens > 1) blob->opens = 1;
    }
    close(*blob, nullptr);
  }
}

void Blobs::end() noexcept {
  thread_.end();
  enlisted_.reset();
}

}  // namespace vreserve
