// Test cases and checks that report as TAP: TEST("name") { CHECK(x); CHECK_EQ(a, b); } and TAP_MAIN() once a program.
#pragma once

#include <atomic>
#include <cstdio>
#include <sstream>
#include <string>
#include <vector>

namespace tap {

struct Case {
  const char* name;
  void (*run)();
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

inline std::atomic<int> failures{0};  // of the running case; checks may be made by its threads

struct Registration {
  Registration(const char* name, void (*run)()) { cases().push_back({name, run}); }
};

inline bool check(bool passed, const char* file, int line, const std::string& what) {
  constexpr int kShown = 10;  // a check in a loop may fail a million times
  if (!passed && failures++ < kShown) std::printf("# %s:%d: %s\n", file, line, what.c_str());
  return passed;
}

template <typename A, typename B>
bool check_equal(const A& a, const B& b, const char* file, int line, const char* what) {
  if (a == b) return true;
  std::ostringstream text;
  text << what << ": " << a << " and " << b;
  return check(false, file, line, text.str());
}

inline int run_all() {
  int number = 0;
  int failed = 0;
  for (const Case& test : cases()) {
    failures = 0;
    test.run();
    const bool passed = failures == 0;
    failed += passed ? 0 : 1;
    std::printf("%s %d - %s\n", passed ? "ok" : "not ok", ++number, test.name);
    std::fflush(stdout);
  }
  std::printf("1..%d\n", number);
  return failed == 0 ? 0 : 1;
}

}  // namespace tap

#define TAP_JOIN2(a, b) a##b
#define TAP_JOIN(a, b) TAP_JOIN2(a, b)
#define TEST(name)                                                                                   \
  static void TAP_JOIN(tap_case_, __LINE__)();                                                       \
  static const tap::Registration TAP_JOIN(tap_entry_, __LINE__)(name, TAP_JOIN(tap_case_, __LINE__)); \
  static void TAP_JOIN(tap_case_, __LINE__)()
#define CHECK(condition) tap::check(static_cast<bool>(condition), __FILE__, __LINE__, #condition)
#define CHECK_EQ(a, b) tap::check_equal((a), (b), __FILE__, __LINE__, #a " == " #b)
#define TAP_MAIN() \
  int main() { return tap::run_all(); }
