// The smallest program with a layer: it holds a socket, which no snapshot can keep, and has another one after a
// restart. Takes a snapshot of itself and says how it came back.
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <crs/crs.hpp>
#include <cstdio>
#include <vector>

namespace {

class Metrics : public crs::Layer {
 public:
  Metrics() { open(); }

  crs::Answer notify(crs::State state) override {
    if (state == crs::State::RestartPre) crs::service().ledger().close(claim_);
    if (state == crs::State::Restart) open();
    return crs::Answer::Done;
  }

  int number() const { return claim_.number; }

 private:
  void open() {
    const int number = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (number < 0) throw crs::Error::from_errno("opening the socket for metrics", errno);
    claim_ = crs::service().ledger().claim(number, "metrics");
  }

  crs::Claim claim_;
};

std::vector<double> table(1 << 20);  // can be computed again

void run() {
  crs::init();
  Metrics metrics;
  const crs::LayerRegistration registration = crs::register_layer("metrics", metrics);
  crs::exclude(table.data(), table.size() * sizeof(double));

  const crs::Checkpointed outcome = crs::checkpoint();  // returns twice
  const bool restarted = outcome.state == crs::State::Restart;
  std::printf("%s %s, the socket is %s\n", restarted ? "restarted from" : "goes on after", outcome.reference.c_str(),
              crs::identify_descriptor(metrics.number()) ? "there" : "gone");
  if (restarted && !crs::lost_memory().empty()) std::printf("the table is to be computed again\n");
}

}  // namespace

int main() {
  try {
    run();
    return 0;
  } catch (const crs::Error& error) {
    std::fprintf(stderr, "first_layer: %s\n", error.what());
    return 1;
  }
}
