#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "engine/resources/descriptors/channels/channels.h"
#include "engine/resources/descriptors/descriptors.h"
#include "engine/resources/descriptors/kind.h"
#include "engine/resources/descriptors/locks/locks.h"
#include "engine/resources/descriptors/refused.h"
#include "engine/resources/descriptors/signal_owner.h"
#include "engine/resources/descriptors/unix_sockets/survey.h"

namespace crs::engine {
namespace {

using Numbers = std::vector<SeenNumber>;

// Takes the numbers that the user leaves out away; descriptions without a number left are dropped.
Numbers take_left_out(const LeaveOut& leave_out, std::vector<Seen>& seen) {
  Numbers left_out;
  for (Seen& one : seen) {
    for (const SeenNumber& number : one.numbers) {
      if (leave_out.descriptor(number.number)) left_out.push_back(number);
    }
    std::erase_if(one.numbers, [&](const SeenNumber& number) { return leave_out.descriptor(number.number); });
  }
  std::erase_if(seen, [](const Seen& one) { return one.numbers.empty(); });
  return left_out;
}

// A number that leads nowhere is a mistake of the user's: what was meant would not be left out.
void refuse_unknown(CaptureContext& context, const Numbers& left_out) {
  for (const int number : context.leave_out.descriptors()) {
    if (std::ranges::find(left_out, number, &SeenNumber::number) != left_out.end()) continue;
    context.refusals.add(
        fmt::format("descriptor {} of process {}, which is to be left out, is not open", number, context.pid),
        fmt::format("'ls -l /proc/{}/fd' shows those that are", context.pid));
  }
}

void add_numbers(image::Descriptors& image, const Numbers& numbers) {
  const auto description = static_cast<std::uint32_t>(image.descriptions_size() - 1);
  for (const SeenNumber& number : numbers) {
    image::Descriptor& descriptor = *image.add_descriptors();
    descriptor.set_number(number.number);
    descriptor.set_description(description);
    descriptor.set_close_on_exec(number.close_on_exec);
    descriptor.set_process(number.process);
  }
}

// Descriptors 0, 1 and 2 each for itself, and all others together; of all processes.
std::vector<Numbers> parts_of(const Numbers& numbers) {
  constexpr std::size_t kOthers = 3;
  if (numbers.empty()) return {{}};
  std::vector<Numbers> parts(kOthers + 1);
  for (const SeenNumber& number : numbers)
    parts[std::min(static_cast<std::size_t>(number.number), kOthers)].push_back(number);
  std::erase_if(parts, [](const Numbers& part) { return part.empty(); });
  return parts;
}

// What is expendable and cannot be kept shares the fate of what the user leaves out.
void give_up(TableCapture& table, const Seen& seen) {
  table.left_out.insert(table.left_out.end(), seen.numbers.begin(), seen.numbers.end());
}

void add_description(TableCapture& table, const Seen& seen, Kind& kind) {
  image::OpenDescription description;
  description.set_status_flags(seen.flags);
  kind.capture(table, seen, description);
  capture_signal_owner(table, seen, description);
  capture_locks(table, seen);
  if (table.take_given_up()) return give_up(table, seen);
  if (seen.numbers.empty() && !seen.info.all("lock").empty())
    table.refuse(seen, "a locked file that is on its way through a unix socket");
  table.set_description(seen, static_cast<std::uint32_t>(table.image.descriptions_size()));
  if (!kind.parts_standard_streams()) {
    *table.image.add_descriptions() = std::move(description);
    return add_numbers(table.image, seen.numbers);
  }
  for (const Numbers& part : parts_of(seen.numbers)) {
    image::OpenDescription& added = *table.image.add_descriptions();
    added = description;
    const bool standard = !part.empty() && part.front().number <= STDERR_FILENO;
    if (standard) added.mutable_standard_stream()->set_stream(part.front().number);
    added.mutable_standard_stream()->set_elsewhere(!standard);
    add_numbers(table.image, part);
  }
}

std::pair<std::uint32_t, int> place_of(const image::Descriptor& descriptor) {
  return {descriptor.process(), descriptor.number()};
}

void add_shared_tables(image::Descriptors& image, std::span<const CapturedProcess> tree) {
  for (std::uint32_t index = 0; index < tree.size(); ++index) {
    if (!tree[index].descriptors_of) continue;
    image::SharedTable& table = *image.add_shared_tables();
    table.set_process(index);
    table.set_owner(*tree[index].descriptors_of);
  }
}

constexpr std::string_view kUnseen =
    "descriptors are on their way through unix sockets for datagrams or packets, which only a checkpoint itself looks "
    "at: what stands in the way there is not known";

// Pipes, sockets and pseudo-terminals.
bool may_have_other_end(const Seen& seen) {
  return !seen.is_path_only() &&
         (S_ISFIFO(seen.status.st_mode) || S_ISSOCK(seen.status.st_mode) || S_ISCHR(seen.status.st_mode));
}

void add_left_out(TableCapture& table, Kind& kind, const Numbers& numbers) {
  for (const SeenNumber& number : numbers) {
    const Seen unused;
    kind.capture(table, unused, *table.image.add_descriptions());
    add_numbers(table.image, {number});
  }
}

}  // namespace

void capture_descriptors(CaptureContext& context, std::span<const CapturedProcess> tree, image::Descriptors& image) {
  add_shared_tables(image, tree);
  std::vector<Seen> seen = look_at_descriptors(tree);
  Numbers left_out = take_left_out(context.leave_out, seen);
  refuse_unknown(context, left_out);
  const UnixSurvey unix_sockets(seen, context.content.keeps());
  TableCapture table(context, tree, image, seen, std::move(left_out));
  table.unix_sockets = &unix_sockets;
  check_channel(table);
  const std::vector<std::unique_ptr<Kind>> kinds = make_kinds();
  if (unix_sockets.has_unseen()) context.warnings.emplace_back(kUnseen);
  for (const Seen& one : seen) {
    const auto kind =
        std::ranges::find_if(kinds, [&](const auto& candidate) { return candidate->recognises(table, one); });
    if (kind == kinds.end()) {
      if (unix_sockets.has_unseen() && may_have_other_end(one)) continue;
      table.refuse(one, describe_refused(one));
      if (table.take_given_up()) give_up(table, one);
    } else {
      in_context(table.name_of(one), [&] { add_description(table, one, **kind); });
    }
  }
  for (const std::unique_ptr<Kind>& kind : kinds) kind->finish(table);
  image::OpenDescription dead;
  dead.mutable_left_out();
  add_left_out(table, kind_of(kinds, dead), table.left_out);
  std::ranges::sort(*image.mutable_descriptors(), {}, place_of);
}

}  // namespace crs::engine
