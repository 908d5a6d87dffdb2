#include <sys/prctl.h>

#include "base/error.h"
#include "cli/signal_state.h"
#include "cli/taker.h"
#include "cli/verb.h"
#include "engine/procfs/tree.h"

namespace crs::cli {
namespace {

// What libcrs starts when a program asks for a snapshot of itself (service/helper.h).
class TakeVerb : public Verb {
 public:
  std::string name() const override { return "take"; }
  std::string summary() const override { return "Take the snapshot that a program asks for"; }
  std::string usage() const override { return "take --fd N"; }
  std::string description() const override {
    return "For libcrs: takes the snapshot of the program at the other end of the socket N.";
  }
  std::string footer() const override { return ""; }
  bool hidden() const override { return true; }
  std::string json_help() const override { return ""; }
  std::string action() const override { return "take the snapshot that a program asks for"; }

  void define(CLI::App& app) override {
    app.add_option("--fd", descriptor_, "The socket")->required()->check(CLI::Range(3, 1 << 30));
  }

  // The program hears of every failure, and is the one who tells it.
  int execute(Context& context) override {
    ignore_file_size_signal();
    // An orphan of the program, until it ends: not of the program's tree.
    ::prctl(PR_SET_NAME, engine::kCheckpointName);
    wire::Connection connection(FileDescriptor(descriptor_), "the program");
    const wire::Peer program = connection.peer();
    if (program.pid == 0) fail(ErrorKind::Failed, "the program's process id cannot be seen");
    Taker taker(context, connection, {.pid = program.pid, .job = "", .progress = {}, .others = true});
    // Without a time limit, as long as the program is there: how long its component needs is the program's affair, and
    // a program that gives up, or ends, closes the connection. Only one that is to end must not go on for ever.
    while (!taker.layers()) {
      const wire::Received received = connection.receive(taker.end_by());
      if (received.kind == wire::Received::Kind::TimedOut) {
        taker.end_unheard("the layers had not ended within the time limit, and were cut off");
        break;
      }
      if (received.kind != wire::Received::Kind::Arrived) {
        // One that has given up closes the connection, too, and goes on.
        if (taker.end_by() && taker.program_has_ended())
          taker.end_unheard("the program ended before its layers had gone on");
        else if (taker.committed() && taker.program_has_ended())
          taker.note_unheard("the program ended before its layers had gone on");
        break;
      }
      try {
        taker.handle(received.message);
      } catch (const Error&) {
        return kFailed;
      }
    }
    return taker.layers() && taker.layers()->failures.empty() ? kDone : kFailed;
  }

 private:
  int descriptor_ = -1;
};

}  // namespace

std::unique_ptr<Verb> make_take_verb() { return std::make_unique<TakeVerb>(); }

}  // namespace crs::cli
