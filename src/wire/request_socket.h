// Where the service of a program listens for requests, and how an asker finds it: a unix socket PID-RANDOM in a private
// directory of the user's; or, where none can be had because somebody else was there first, of the name
// crs-requests/PID-RANDOM in the abstract namespace (unix(7)), found through proc_net(5) and the program's descriptors.
// Functions without state.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/file_descriptor.h"
#include "wire/connection.h"

namespace crs::wire {

// RUNTIME/crs, if `runtime_directory` is one ($XDG_RUNTIME_DIR), and /tmp/crs-UID.
std::vector<std::string> request_directories(const std::string& runtime_directory, uid_t user);

// Opens the directory if it is there. Throws if it is not one, not the user's, or open to others: anybody could have
// put it there.
FileDescriptor open_request_directory(const std::string& path, uid_t user);

// A socket that listens, and its file.
struct Listening {
  FileDescriptor directory;  // none of an abstract name: anybody may connect to that
  FileDescriptor socket;
  std::string name;
  std::string path;  // of an abstract name as proc_net(5) shows it, "@crs-requests/..."
};

// Listens in the first of the directories that are the calling user's own (made, with mode 0700, where nothing is),
// and clears away sockets there whose programs have ended; under an abstract name where that fails.
Listening listen_for_requests(const std::string& runtime_directory);

// A connection to the service of process `pid`: to a socket whose listener is that very process. Empty: there is none.
// Directories that cannot be trusted are left out, and `note` hears of them.
std::optional<Connection> connect_to_service(pid_t pid, uid_t user, const std::vector<std::string>& directories,
                                             const std::function<void(const std::string&)>& note);

// Whether the process listens in the manner of listen_for_requests(), wherever that is; false also if it cannot be
// seen.
bool listens_for_requests(pid_t pid);

}  // namespace crs::wire
