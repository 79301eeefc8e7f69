#include "crew.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>

#include <cstdlib>
#include <utility>

namespace vreserve {

namespace {

thread_local Worker* current_worker = nullptr;

}  // namespace

Worker* Crew::current() noexcept { return current_worker; }

Crew::~Crew() {
  {
    const std::lock_guard guard(mutex_);
    ending_ = true;
    for (Member* member : idle_) member->wakes.release();
  }
  for (const auto& member : members_) member->worker->thread.join();
}

void Crew::post(Task task) noexcept {
  const std::lock_guard guard(mutex_);
  if (!idle_.empty()) {
    Member* const member = idle_.back();
    idle_.pop_back();
    member->task = std::move(task);
    return member->wakes.release();
  }
  tasks_.push_back(std::move(task));
  Member& member = *members_.emplace_back(std::make_unique<Member>());
  device_.enlist(member.worker);
  member.worker->thread = std::thread([this, &member] { run(member); });
}

Crew::Task Crew::next(Member& member) noexcept {
  {
    const std::lock_guard guard(mutex_);
    if (!tasks_.empty()) {
      Task task = std::move(tasks_.front());
      tasks_.pop_front();
      return task;
    }
    if (ending_) return {};
    idle_.push_back(&member);
  }
  member.wakes.acquire();
  return std::exchange(member.task, {});
}

void Crew::run(Member& member) noexcept {
  Worker& worker = *member.worker;
  ::pthread_setname_np(::pthread_self(), "vreserve-crew");
  sigset_t mask;
  ::sigfillset(&mask);
  ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  ::unshare(CLONE_FS);  // the umask becomes this thread's own
  ::umask(0);
  worker.tid = static_cast<pid_t>(::syscall(SYS_gettid));
  constexpr std::size_t size = kMaxWrite + kPage;
  void* const memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  worker.reply_buffer = static_cast<char*>(memory);
  current_worker = &worker;
  while (const Task task = next(member)) task();
  device_.delist(worker);
  ::munmap(memory, size);
}

}  // namespace vreserve
