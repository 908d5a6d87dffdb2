#include "mutate.h"

#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/dynamic_message.h>

#include <array>
#include <cstdint>
#include <fstream>
#include <limits>
#include <stdexcept>
#include <vector>

namespace crs::test {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

std::uint64_t below(std::mt19937_64& random, std::uint64_t limit) { return limit == 0 ? 0 : random() % limit; }

std::uint64_t mutated_number(std::uint64_t old, std::mt19937_64& random) {
  constexpr std::array<std::uint64_t, 22> kLimits{0,
                                                  1,
                                                  2,
                                                  3,
                                                  63,
                                                  64,
                                                  65,
                                                  4095,
                                                  4096,
                                                  65535,
                                                  65536,
                                                  0x7fffffff,
                                                  0x80000000,
                                                  0xffffffff,
                                                  1ULL << 46,
                                                  (1ULL << 47) - 4096,
                                                  1ULL << 47,
                                                  1ULL << 62,
                                                  1ULL << 63,
                                                  ~0ULL,
                                                  ~0ULL - 4095,
                                                  0x7fffffffffffffff};
  switch (below(random, 6)) {
    case 0:
      return old + 1;
    case 1:
      return old - 1;
    case 2:
      return old ^ (std::uint64_t{1} << below(random, 64));
    case 3:
      return old + (below(random, 2) == 0 ? 4096 : -4096ULL);
    case 4:
      return random();
    default:
      return kLimits[below(random, kLimits.size())];
  }
}

std::string mutated_bytes(std::string old, std::mt19937_64& random) {
  const std::size_t place = below(random, old.size());
  switch (below(random, 8)) {
    case 0:
      return "";
    case 1:
      return old.substr(0, place);
    case 2:
      return old + old;
    case 3:
      return old + std::string(1, '\0') + "x";
    case 4:
      return std::string(1 + below(random, 70000), static_cast<char>(random()));
    case 5:
      return "/" + std::string(below(random, 6000), 'n');
    default:
      if (!old.empty()) old[place] = static_cast<char>(random());
      return old;
  }
}

// Reads and sets a field, or one element of a repeated field (`index` not negative), of any type that has no fields of
// its own.
class Place {
 public:
  Place(Message& message, const FieldDescriptor& field, int index)
      : message_(message), reflection_(*message.GetReflection()), field_(field), index_(index) {}

  void mutate(std::mt19937_64& random) {
    switch (field_.cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        return number(&Reflection::GetInt32, &Reflection::SetInt32, &Reflection::GetRepeatedInt32,
                      &Reflection::SetRepeatedInt32, random);
      case FieldDescriptor::CPPTYPE_INT64:
        return number(&Reflection::GetInt64, &Reflection::SetInt64, &Reflection::GetRepeatedInt64,
                      &Reflection::SetRepeatedInt64, random);
      case FieldDescriptor::CPPTYPE_UINT32:
        return number(&Reflection::GetUInt32, &Reflection::SetUInt32, &Reflection::GetRepeatedUInt32,
                      &Reflection::SetRepeatedUInt32, random);
      case FieldDescriptor::CPPTYPE_UINT64:
        return number(&Reflection::GetUInt64, &Reflection::SetUInt64, &Reflection::GetRepeatedUInt64,
                      &Reflection::SetRepeatedUInt64, random);
      case FieldDescriptor::CPPTYPE_ENUM:
        return number(&Reflection::GetEnumValue, &Reflection::SetEnumValue, &Reflection::GetRepeatedEnumValue,
                      &Reflection::SetRepeatedEnumValue, random);
      case FieldDescriptor::CPPTYPE_BOOL:
        if (index_ < 0) reflection_.SetBool(&message_, &field_, !reflection_.GetBool(message_, &field_));
        return;
      case FieldDescriptor::CPPTYPE_STRING:
        if (index_ < 0) {
          reflection_.SetString(&message_, &field_, mutated_bytes(reflection_.GetString(message_, &field_), random));
        } else {
          reflection_.SetRepeatedString(
              &message_, &field_, index_,
              mutated_bytes(reflection_.GetRepeatedString(message_, &field_, index_), random));
        }
        return;
      default:
        return;
    }
  }

 private:
  template <typename Get, typename Set, typename GetOne, typename SetOne>
  void number(Get get, Set set, GetOne get_one, SetOne set_one, std::mt19937_64& random) {
    const auto old =
        index_ < 0 ? (reflection_.*get)(message_, &field_) : (reflection_.*get_one)(message_, &field_, index_);
    const auto fresh = static_cast<decltype(old)>(mutated_number(static_cast<std::uint64_t>(old), random));
    if (index_ < 0) {
      (reflection_.*set)(&message_, &field_, fresh);
    } else {
      (reflection_.*set_one)(&message_, &field_, index_, fresh);
    }
  }

  Message& message_;
  const Reflection& reflection_;
  const FieldDescriptor& field_;
  int index_;
};

// Every message of the tree, so that small ones that occur often do not hide large ones that occur once.
void collect(Message& message, std::vector<Message*>& all) {
  all.push_back(&message);
  const Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> present;
  reflection.ListFields(message, &present);
  for (const FieldDescriptor* const field : present) {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) {
      collect(*reflection.MutableMessage(&message, field), all);
      continue;
    }
    for (int i = 0; i < reflection.FieldSize(message, field); ++i)
      collect(*reflection.MutableRepeatedMessage(&message, field, i), all);
  }
}

void mutate_list(Message& message, const FieldDescriptor& field, std::mt19937_64& random) {
  const Reflection& reflection = *message.GetReflection();
  const int size = reflection.FieldSize(message, &field);
  if (size == 0) {
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) reflection.AddMessage(&message, &field);
    return;
  }
  const int index = static_cast<int>(below(random, static_cast<std::uint64_t>(size)));
  const bool messages = field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
  switch (below(random, messages ? 5 : 3)) {
    case 0:
      reflection.SwapElements(&message, &field, index,
                              static_cast<int>(below(random, static_cast<std::uint64_t>(size))));
      return;
    case 1:
      reflection.SwapElements(&message, &field, index, size - 1);
      reflection.RemoveLast(&message, &field);
      return;
    case 2:
      return Place(message, field, index).mutate(random);
    case 3:
      reflection.ClearField(&message, &field);
      return;
    default:
      reflection.AddMessage(&message, &field)->CopyFrom(reflection.GetRepeatedMessage(message, &field, index));
  }
}

// All schemas in src/.
class Schemas {
 public:
  Schemas() {
    std::ifstream file(CRS_SCHEMAS, std::ios::binary);
    google::protobuf::FileDescriptorSet all;
    if (!all.ParseFromIstream(&file)) throw std::runtime_error("cannot read " CRS_SCHEMAS);
    for (const auto& schema : all.file()) pool_.BuildFile(schema);
  }

  std::unique_ptr<Message> make(std::string_view type) {
    const auto* const descriptor = pool_.FindMessageTypeByName({type.data(), type.size()});
    if (descriptor == nullptr) throw std::runtime_error("there is no message " + std::string(type));
    return std::unique_ptr<Message>(factory_.GetPrototype(descriptor)->New());
  }

 private:
  google::protobuf::DescriptorPool pool_;
  google::protobuf::DynamicMessageFactory factory_;
};

std::unique_ptr<Message> message_of(std::string_view type) {
  static Schemas schemas;  // the messages refer to it
  return schemas.make(type);
}

}  // namespace

MutableMessage::MutableMessage(std::string_view type) : message_(message_of(type)) {}

std::string MutableMessage::mutate(std::mt19937_64& random) {
  std::vector<Message*> all;
  collect(*message_, all);
  // Messages without fields of their own cannot be changed.
  Message* chosen = all.front();
  for (int attempt = 0; attempt < 8; ++attempt) {
    chosen = all[below(random, all.size())];
    if (chosen->GetDescriptor()->field_count() > 0) break;
  }
  if (chosen->GetDescriptor()->field_count() == 0) chosen = all.front();
  const auto& descriptor = *chosen->GetDescriptor();
  const FieldDescriptor& field =
      *descriptor.field(static_cast<int>(below(random, static_cast<std::uint64_t>(descriptor.field_count()))));
  const Reflection& reflection = *chosen->GetReflection();
  if (field.is_repeated()) {
    mutate_list(*chosen, field, random);
  } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    if (reflection.HasField(*chosen, &field)) {
      reflection.ClearField(chosen, &field);
    } else {
      reflection.MutableMessage(chosen, &field);
    }
  } else {
    Place(*chosen, field, -1).mutate(random);
  }
  return field.full_name();
}

}  // namespace crs::test
