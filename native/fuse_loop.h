// The threads of libfuse 2.9, for the binding fuse-native.
//
// Its own loop (fuse_loop_mt) ends threads as soon as more than ten are idle, and the binding never gives back what belongs
// to a thread: each burst of requests left handles behind that libuv walks at every wake-up, and a mount became ten times
// slower within a minute. This loop never ends a thread. It takes the place of the other because the dynamic linker
// finds it first (claim_fuse_loop); it uses libfuse's public interface alone.
//
// It also knows what the binding hides: which requests are under way, so that a charge about to be refused can wait for
// those that give bytes back, and which one an INTERRUPT is about. And it mends what libfuse and the binding lose: how the
// kernel is to treat an open file, and one time that is set without the other.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace vreserve {

// The device number of what is no device says that the kernel may keep the attributes for a moment: libfuse knows only one
// time for all of them.
inline constexpr std::uint32_t kMayKeep = 1;
// And that it is one of `/.vreserve`. A file there gets another name at each look-up (what follows kLookedUp), so that the
// kernel knows it by another inode each time, as it must: each look-up is a snapshot of its own, and of `control` one that waits
// must not hold up the others, since the kernel lets one write at a time into an inode.
inline constexpr std::uint32_t kOwn = 2;
inline constexpr char kLookedUp = '\x01';

// What the loop asks of whoever serves; called on its threads.
struct FuseLoopHost {
  // Who waits for a WRITE or FLUSH (by opcode) of the handle waits no longer.
  std::function<void(std::uint64_t handle, std::uint32_t opcode)> interrupted;
  // The flags with which the kernel opens the file of the handle.
  std::function<std::uint32_t(std::uint64_t handle)> open_flags;
  // The kernel sends nothing more; requests may still be under way.
  std::function<void()> closing;
  // And none is under way.
  std::function<void()> ended;
};

// Loads libfuse from `library` for everybody, with this loop in front of it. "" or why not.
[[nodiscard]] std::string claim_fuse_loop(const std::string& library) noexcept;
// Before the mount; one at a time. `host` must live until `ended`, or for ever.
void set_fuse_loop_host(FuseLoopHost* host) noexcept;
// True when a rename onto this name (without its directory) is under way.
[[nodiscard]] bool fuse_loop_renames_onto(std::string_view name) noexcept;
// True when the loop is served, or was: the other one never was in its place.
[[nodiscard]] bool fuse_loop_runs() noexcept;
// Takes no more requests, and closes the device once nobody reads from it: then the kernel answers those that wait.
void stop_fuse_loop() noexcept;
// As Device::settle, for requests that libfuse has read. `excused` says how many of those that may give back do not move on before.
void settle_fuse_loop(const std::function<unsigned()>& excused) noexcept;

}  // namespace vreserve
