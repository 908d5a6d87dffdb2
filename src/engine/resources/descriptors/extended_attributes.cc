#include "engine/resources/descriptors/extended_attributes.h"

#include <linux/limits.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <set>

#include "base/error.h"

namespace crs::engine {
namespace {

std::vector<std::string> names_of(int descriptor, std::string_view what) {
  std::string list(XATTR_LIST_MAX, '\0');
  const ssize_t length = ::flistxattr(descriptor, list.data(), list.size());
  if (length < 0 && errno == ENOTSUP) return {};
  if (length < 0) fail_errno(errno, "cannot list the extended attributes of {}", what);
  list.resize(static_cast<std::size_t>(length));
  std::vector<std::string> names;
  for (std::size_t start = 0; start < list.size(); start += names.back().size() + 1)
    names.emplace_back(list.c_str() + start);
  return names;
}

std::optional<std::string> value_of(int descriptor, const std::string& name) {
  std::string value(XATTR_SIZE_MAX, '\0');
  const ssize_t length = ::fgetxattr(descriptor, name.c_str(), value.data(), value.size());
  if (length < 0) return std::nullopt;
  value.resize(static_cast<std::size_t>(length));
  return value;
}

AttributeStage stage_of(std::string_view name) {
  return name.starts_with("user.") || name.starts_with("trusted.") ? AttributeStage::BeforeOwner
                                                                   : AttributeStage::AfterMode;
}

}  // namespace

void capture_extended_attributes(int descriptor, std::string_view what, image::ContentObject& object,
                                 std::vector<std::string>& warnings) {
  for (const std::string& name : names_of(descriptor, what)) {
    const std::optional<std::string> value = value_of(descriptor, name);
    if (!value) {
      warnings.push_back(fmt::format("the extended attribute {} of {} cannot be read ({}) and is not kept", name, what,
                                     ::strerrordesc_np(errno)));
      continue;
    }
    image::ContentObject::ExtendedAttribute& attribute = *object.add_extended_attributes();
    attribute.set_name(name);
    attribute.set_value(*value);
  }
}

void check_extended_attributes(const image::ContentObject& object) {
  std::set<std::string_view> names;
  for (const image::ContentObject::ExtendedAttribute& attribute : object.extended_attributes()) {
    const std::string& name = attribute.name();
    const bool possible = !name.empty() && name.size() <= XATTR_NAME_MAX && name.find('\0') == std::string::npos &&
                          attribute.value().size() <= XATTR_SIZE_MAX && names.insert(name).second;
    if (!possible) fail(ErrorKind::Damaged, "the snapshot has an extended attribute that cannot be");
  }
}

void restore_extended_attributes(int descriptor, AttributeStage stage, const image::ContentObject& object,
                                 std::vector<std::string>& notes) {
  for (const image::ContentObject::ExtendedAttribute& attribute : object.extended_attributes()) {
    const std::string& name = attribute.name();
    const std::string& value = attribute.value();
    if (stage_of(name) != stage || value_of(descriptor, name) == value) continue;
    if (::fsetxattr(descriptor, name.c_str(), value.data(), value.size(), 0) != 0)
      notes.push_back(fmt::format("the extended attribute {} of {} cannot be set again ({})", name, object.name(),
                                  ::strerrordesc_np(errno)));
  }
}

}  // namespace crs::engine
