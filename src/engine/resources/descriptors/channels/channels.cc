#include "engine/resources/descriptors/channels/channels.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/error.h"
#include "engine/resources/descriptors/sockets/sockets.h"

namespace crs::engine {
namespace {

bool is_unix_stream(int descriptor) {
  const std::optional<SocketKind> kind = socket_kind_of(descriptor);
  return kind && kind->family == AF_UNIX && kind->type == SOCK_STREAM;
}

}  // namespace

void check_channel(const TableCapture& table) {
  const int number = table.context.options.channel;
  if (number < 0) return;
  const Seen* const channel = table.find(0, number);
  if (channel != nullptr && !channel->is_path_only() && is_unix_stream(channel->copy.get())) return;
  fail(ErrorKind::Usage, "descriptor {} of process {} is not the connection (a unix stream socket) that it should be",
       number, table.context.own_pid);
}

bool ChannelKind::recognises(const TableCapture& table, const Seen& seen) {
  const int number = table.context.options.channel;
  return seen.first_process() == 0 &&
         std::ranges::find(seen.numbers, number, &SeenNumber::number) != seen.numbers.end();
}

void ChannelKind::capture(TableCapture& /*table*/, const Seen& /*seen*/, Description& description) {
  description.mutable_taker_channel();
}

void ChannelKind::check(TableCheck& table, const Description& /*description*/) {
  const int given = table.context.options.channel;
  if (given >= 0 && !is_unix_stream(given))
    fail(ErrorKind::Usage, "descriptor {} is not the connection (a unix stream socket) to a restarted program", given);
}

FileDescriptor ChannelKind::open(TableRestore& table, const Description& /*description*/) {
  if (table.channel() >= 0) return FileDescriptor(::dup(table.channel()));
  // Nobody is there: reading gives end of file.
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) != 0) fail_errno(errno, "cannot make a unix socket");
  const FileDescriptor other(ends[1]);
  return FileDescriptor(ends[0]);
}

}  // namespace crs::engine
