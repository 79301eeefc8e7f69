// A change of lots and bindings that is under way.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine.h"

namespace vreserve {

// Its pools are locked from beginning to end.
struct Engine::Rebinding {
  std::set<PoolId> pools;  // that it concerns
  bool all_ended = true;   // no request that began before it is under way, in any pool
  Freezes freezes;
  std::map<std::string, Binding> bindings;  // of the paths where one changes, as they are to be
  std::vector<std::string> tops;            // the topmost of those
  std::vector<Walked> walked;               // frozen: each of the tops, then orphans that lie elsewhere
  std::unique_ptr<Paths> after;             // an excerpt, with the changes
  std::map<std::uint32_t, CountOutcome> counted;  // by root
  std::unordered_map<LotId, LotId> heirs;         // of the lots that go
  std::vector<std::pair<Inode*, LotId>> orphans;  // held: unlinked, open, and of that lot, which goes
  std::vector<Inode*> nameless;                   // held: they may lie below one of the tops, by names that are not known
  Reshape shapes;                                 // for the meter
};

}  // namespace vreserve
