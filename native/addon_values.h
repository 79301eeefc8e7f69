// From values of JavaScript to the data plane's and back; the shapes are those of src/engine/engine.ts.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>
#include <vector>

#include "engine.h"

namespace vreserve {

[[nodiscard]] std::string name_of(int error);
// Throws an Error with `code`. error: -errno.
void fail(Napi::Env env, int error, const std::string& why);

[[nodiscard]] Napi::Value number(Napi::Env env, std::int64_t value);
[[nodiscard]] std::int64_t integer(const Napi::Value& value);  // 0 for what is no number
[[nodiscard]] std::int64_t limit(const Napi::Value& value);    // negative: kUnlimited
[[nodiscard]] std::string text(const Napi::Value& value);
[[nodiscard]] bool truth(const Napi::Value& value);
[[nodiscard]] LotId lot_id(const Napi::Value& value);

// Each element of an array, by `convert`.
template <typename Convert>
[[nodiscard]] auto each(const Napi::Value& value, Convert convert) {
  std::vector<decltype(convert(value))> all;
  if (!value.IsArray()) return all;
  const auto array = value.As<Napi::Array>();
  all.reserve(array.Length());
  for (std::uint32_t i = 0; i < array.Length(); ++i) all.push_back(convert(array.Get(i)));
  return all;
}
// An array of what `convert` makes of each element.
template <typename Elements, typename Convert>
[[nodiscard]] Napi::Array array_of(Napi::Env env, const Elements& elements, Convert convert) {
  auto array = Napi::Array::New(env, elements.size());
  std::uint32_t i = 0;
  for (const auto& element : elements) array.Set(i++, convert(element));
  return array;
}

[[nodiscard]] LotSpec lot_spec(const Napi::Value& value);
[[nodiscard]] PoolSpec pool_spec(const Napi::Value& value);
[[nodiscard]] SpoolLayout spool_layout(const Napi::Value& value);
[[nodiscard]] BoundPath bound_path(const Napi::Value& value);
[[nodiscard]] ReshapeRequest reshape_of(const Napi::Value& value);
[[nodiscard]] Phase phase_of(const Napi::Value& value);
[[nodiscard]] Caller caller_of(const Napi::Value& value);
[[nodiscard]] VirtualAnswer answer_of(const Napi::Object& object);

[[nodiscard]] Napi::Object value_of(Napi::Env env, const LotUsage& usage);
[[nodiscard]] Napi::Object value_of(Napi::Env env, const LotChange& change);
[[nodiscard]] Napi::Object value_of(Napi::Env env, const PoolUsage& pool);
[[nodiscard]] Napi::Object value_of(Napi::Env env, const PoolReport& pool);
[[nodiscard]] Napi::Object value_of(Napi::Env env, const BackingInfo& backing);
[[nodiscard]] Napi::Object value_of(Napi::Env env, const Admission& admission);
[[nodiscard]] Napi::Object value_of(Napi::Env env, const CountReport& report);
[[nodiscard]] Napi::Object value_of(Napi::Env env, const VirtualQuestion& question);

}  // namespace vreserve
