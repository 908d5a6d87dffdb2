// What is in a POSIX message queue: only taking the messages shows them (mq_overview(7)), so they are put back at once.
#pragma once

#include <sys/types.h>

#include <span>
#include <string>
#include <vector>

#include "engine/resources/context.h"
#include "engine/resources/descriptors/message_queues/message_queues.pb.h"

namespace crs::engine {

// The queue that this process has open as `queue`, opened for both and to be waited for, whatever `queue` is open for.
// Empty, with errno, where its permissions forbid that.
FileDescriptor open_for_both(int queue);

// Whether somebody is to be told of the next message (mq_notify(3)). False where `queue` is open for writing only.
bool has_notification(int queue);

// The bytes in all of its messages. 0 where `queue` is open for writing only.
std::uint64_t bytes_in(int queue);

// A process that has a queue open, or may have: this user does not see, and its permissions let it.
struct QueueUser {
  pid_t pid = 0;  // 0: there is none
  bool is_seen = true;
};

// Of each of `queues`, one that is none of `members`. Processes of root that this user does not see do not count.
std::vector<QueueUser> find_other_users(std::span<const CapturedProcess> members, std::span<const int> queues);

// Takes all messages out and puts them back. `queue` is one of open_for_both(). Whoever has it open must stand still
// meanwhile, and this must not be interrupted (done_to_the_end()). Throws where somebody has been in the way: what
// could not be put back is lost then, and said.
image::PosixMessageQueue copy_messages(int queue);

// Replaces what is in the queue. `queue` as above.
void replace_messages(int queue, const image::PosixMessageQueue& messages);

}  // namespace crs::engine
