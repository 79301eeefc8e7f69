// The data plane without Node, for running a real mount under the sanitizers, with a small view of blobs. Commands come on
// standard input, one a line: `admit ID PATH BYTES [nonrecursive]`, `exclude ID PATH`, `unlink ID PATH`, `release ID`, `count`,
// `usage`, `known`, `pool ID DIR` (another pool), `graft PATH POOL DIR`, `broken POOL`, `quit`; each answers with one line.
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>

#include "../engine.h"
#include "store_view.h"

using namespace vreserve;

namespace {

void print_usage(Engine& engine) {
  for (const LotUsage& usage : engine.meter.all_usage()) {
    std::cout << usage.id << "=" << usage.bytes << "/" << usage.objects << "/" << usage.pending_bytes << "/"
              << usage.pending_objects << " ";
  }
  std::cout << std::endl;
}

// Compares what is recorded with a full count; writers may be at work.
void print_count(Engine& engine) {
  CountProgress progress;
  const CountReport report = engine.count(false, progress);
  bool equal = report.error == 0;
  for (const CountedLot& lot : report.lots) {
    if (!lot.exact || lot.counted.bytes != lot.recorded.bytes || lot.counted.objects != lot.recorded.objects) {
      equal = false;
      std::cout << lot.id << ": counted " << lot.counted.bytes << "/" << lot.counted.objects << ", recorded "
                << lot.recorded.bytes << "/" << lot.recorded.objects << (lot.exact ? "; " : " (moving); ");
    }
  }
  std::cout << (equal ? "equal" : "DIFFERENT") << std::endl;
}

void print_admission(const Admission& admission) {
  std::cout << (admission.error == 0 ? "granted" : "refused") << " " << admission.error << " " << admission.held
            << std::endl;
}

void admit(Engine& engine, std::istringstream& words) {
  LotSpec spec;
  BoundPath bound;
  std::string kind;
  words >> spec.id >> bound.path >> spec.policy.dedicated_bytes >> kind;
  spec.name = bound.path;
  spec.pool = engine.inodes.root_at(bound.path).pool;
  spec.policy.opportunistic_bytes = 0;
  bound.binding = {spec.id, kind != "nonrecursive", false};
  print_admission(engine.reshape({.lots = {spec}, .gone = {}, .bind = {bound}, .unbind = {}, .must_cover = true}));
}

void exclude(Engine& engine, std::istringstream& words) {
  BoundPath bound;
  words >> bound.binding.lot >> bound.path;
  bound.binding.exclude = true;
  print_admission(engine.reshape({.lots = {}, .gone = {}, .bind = {bound}, .unbind = {}}));
}

// As reclaiming does: whatever inode is there now.
void unlink(Engine& engine, std::istringstream& words, const std::string& view) {
  LotId lot = kNoLot;
  std::string path;
  words >> lot >> path;
  struct stat st {};
  std::int64_t bytes = 0;
  const int error = ::lstat((view + path).c_str(), &st) != 0 ? -errno : engine.unlink(path, st.st_ino, lot, bytes);
  std::cout << "unlinked " << error << " " << bytes << std::endl;
}

void release(Engine& engine, std::istringstream& words) {
  LotId id = kNoLot;
  words >> id;
  const Admission admission = engine.reshape({.lots = {}, .gone = {id}, .bind = {}, .unbind = {}, .force = true});
  std::cout << "released " << -admission.error << std::endl;
}

void add_pool(Engine& engine, std::istringstream& words) {
  PoolSpec spec;
  words >> spec.id >> spec.directory;
  spec.name = std::to_string(spec.id);
  spec.mark = "stress";
  BackingInfo info;
  std::string why;
  std::cout << "pool " << engine.add_pool(spec, info, why) << " " << why << std::endl;
}

void graft(Engine& engine, std::istringstream& words) {
  std::string path, directory;
  PoolId pool = kMainPool;
  words >> path >> pool >> directory;
  std::cout << "grafted " << engine.graft(path, pool, directory) << std::endl;
}

void print_broken(Engine& engine, std::istringstream& words) {
  PoolId pool = kMainPool;
  words >> pool;
  const std::string why = engine.pool(pool).broken;
  std::cout << (why.empty() ? "served" : "broken: " + why) << std::endl;
}

// What is known and open: inodes, nodes of the view, blobs, and handles that the view has given.
void print_known(Engine& engine, StoreView& view) {
  std::cout << "known " << engine.inodes.count() << " " << engine.virtuals.count() << " " << engine.blobs.count() << " "
            << view.open() << std::endl;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: serve DATA MNT [cached]" << std::endl;
    return 2;
  }
  EngineOptions options;
  options.backing = argv[1];
  options.device.mountpoint = argv[2];
  options.device.source = "vreserve-test";
  options.device.passthrough = argc < 4;
  Engine engine;
  BackingInfo info;
  std::string why;
  if (const int error = engine.open_backing(options, info, why); error != 0) {
    std::cerr << why << ": " << -error << std::endl;
    return 1;
  }
  ::mkdir((info.view_path + "/.vreserve").c_str(), 0700);
  if (FILE* const lock = std::fopen((info.view_path + "/.vreserve/lock").c_str(), "w")) std::fclose(lock);
  ::mkdir((info.view_path + "/.vreserve/spool").c_str(), 01777);
  if (engine.serve_spool({.spool = {".registry", ".tmp", ".data", "new", "new/.checkout"},
                          .queue = {".checkout"},
                          .making = ".vreserve-making-"}) != 0) {
    std::cerr << "cannot serve the spool" << std::endl;
    return 1;
  }
  ::mkdir((info.view_path + "/.vreserve/blobs").c_str(), 0700);
  if (engine.serve_store() != 0) {
    std::cerr << "cannot serve the store" << std::endl;
    return 1;
  }
  engine.set_pool(-1, -1);
  LotSpec all;
  all.id = kDefaultLot;
  all.name = "default";
  (void)engine.add_lot(all, 0, 0);
  CountProgress progress;
  (void)engine.count(false, progress);
  std::atomic<bool> ended{false};
  StoreView view(engine, options.device.mountpoint, info.view_path);
  const int error = engine.mount([&view](VirtualQuestion&& question) { view.ask(std::move(question)); },
                                 [&ended] { ended = true; }, why);
  if (error != 0) {
    std::cerr << why << ": " << -error << std::endl;
    return 1;
  }
  std::cout << "serving " << (engine.passthrough() ? "passthrough" : "cached") << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string command;
    words >> command;
    if (command == "quit") break;
    if (command == "usage") print_usage(engine);
    if (command == "known") print_known(engine, view);
    if (command == "count") print_count(engine);
    if (command == "admit") admit(engine, words);
    if (command == "exclude") exclude(engine, words);
    if (command == "unlink") unlink(engine, words, info.view_path);
    if (command == "release") release(engine, words);
    if (command == "pool") add_pool(engine, words);
    if (command == "graft") graft(engine, words);
    if (command == "broken") print_broken(engine, words);
  }
  (void)engine.unmount(true);
  while (!ended) ::usleep(1000);
  view.end();
  engine.stop();
  return 0;
}
