// The meter alone, as an object of JavaScript: for tests of the rules, and for engines that serve their mount themselves.
#include <memory>

#include "addon.h"
#include "addon_values.h"

namespace vreserve {

namespace {

Delta delta_of(const Napi::Value& value) {
  const auto object = value.As<Napi::Object>();
  return {lot_id(object.Get("id")), integer(object.Get("bytes")), integer(object.Get("objects")), 0, 0};
}

Shape shape_of(const Napi::Value& value) {
  LotSpec spec = lot_spec(value);
  return {spec.id, spec.policy, std::move(spec.parents)};
}

Gone gone_of(const Napi::Value& value) {
  const auto object = value.As<Napi::Object>();
  return {lot_id(object.Get("id")), lot_id(object.Get("heir"))};
}

// What is charged here is written at once: nobody else tells when it has landed.
class MeterObject : public Napi::ObjectWrap<MeterObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Meter",
                       {InstanceMethod("setPool", &MeterObject::set_pool), InstanceMethod("add", &MeterObject::add),
                        InstanceMethod("reshape", &MeterObject::reshape), InstanceMethod("apply", &MeterObject::apply),
                        InstanceMethod("chargeUpTo", &MeterObject::charge_up_to),
                        InstanceMethod("setPhase", &MeterObject::set_phase), InstanceMethod("used", &MeterObject::used),
                        InstanceMethod("usage", &MeterObject::usage),
                        InstanceMethod("available", &MeterObject::available),
                        InstanceMethod("pool", &MeterObject::pool)});
  }

  explicit MeterObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<MeterObject>(info) {}

 private:
  // (capacityBytes, marginBytes, blockBytes)
  Napi::Value set_pool(const Napi::CallbackInfo& info) {
    meter_.set_pool(integer(info[0]), integer(info[1]), integer(info[2]));
    return info.Env().Undefined();
  }

  // (spec, bytes, objects); throws EEXIST, ENOENT
  Napi::Value add(const Napi::CallbackInfo& info) {
    const LotSpec spec = lot_spec(info[0]);
    LotUsage usage;
    usage.id = spec.id;
    usage.bytes = integer(info[1]);
    usage.objects = integer(info[2]);
    if (const int error = meter_.add(spec.id, spec.policy, spec.parents, usage); error != 0) {
      fail(info.Env(), -error, "cannot add the lot " + spec.name);
    }
    return info.Env().Undefined();
  }

  // ({lots, gone: {id, heir}[], moves: {id, bytes, objects}[], mustCover, force}) -> {errno, lot}
  Napi::Value reshape(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const auto object = info[0].As<Napi::Object>();
    Reshape what;
    what.lots = each(object.Get("lots"), shape_of);
    what.gone = each(object.Get("gone"), gone_of);
    what.moves = each(object.Get("moves"), delta_of);
    what.must_cover = truth(object.Get("mustCover"));
    what.force = truth(object.Get("force"));
    const Refusal refusal = meter_.reshape(what);
    auto answer = Napi::Object::New(env);
    answer.Set("errno", refusal.error == 0 ? env.Null() : Napi::Value(Napi::String::New(env, name_of(refusal.error))));
    answer.Set("lot", refusal.lot == kNoLot ? env.Null() : number(env, refusal.lot));
    return answer;
  }

  // ({id, bytes, objects}[]) -> whether all of it was admitted
  Napi::Value apply(const Napi::CallbackInfo& info) {
    const std::vector<Delta> change = each(info[0], delta_of);
    const bool passed = meter_.apply(change) == 0;
    std::int64_t net = 0;
    for (const Delta& delta : change) net += delta.bytes;
    if (passed && net > 0) meter_.landed(net);
    return Napi::Boolean::New(info.Env(), passed);
  }

  // (id, bytes) -> the bytes that fitted
  Napi::Value charge_up_to(const Napi::CallbackInfo& info) {
    const std::int64_t got = meter_.charge_up_to(lot_id(info[0]), integer(info[1]), false, true);
    if (got > 0) meter_.landed(got);
    return number(info.Env(), got);
  }

  // (id, setsAside, mayGrow)
  Napi::Value set_phase(const Napi::CallbackInfo& info) {
    meter_.set_phase(lot_id(info[0]), truth(info[1]), truth(info[2]));
    return info.Env().Undefined();
  }

  Napi::Value used(const Napi::CallbackInfo& info) { return number(info.Env(), meter_.used(lot_id(info[0]))); }

  Napi::Value usage(const Napi::CallbackInfo& info) {
    LotUsage usage;
    if (!meter_.usage(lot_id(info[0]), usage)) return info.Env().Null();
    return value_of(info.Env(), usage);
  }

  // (parents)
  Napi::Value available(const Napi::CallbackInfo& info) {
    return number(info.Env(), meter_.available(each(info[0], lot_id)));
  }

  Napi::Value pool(const Napi::CallbackInfo& info) { return value_of(info.Env(), meter_.pool()); }

  Meter meter_;
};

}  // namespace

Napi::Function define_meter(Napi::Env env) { return MeterObject::define(env); }

}  // namespace vreserve
