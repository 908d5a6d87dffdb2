// A solver that saves itself: conjugate gradients for the Poisson equation -u" = f on a square. It names the memory
// that matters and takes a checkpoint every so many iterations. Started again from one, it ends with the same result as
// if nothing had happened, bit for bit.
//
//   solver POINTS ITERATIONS FILE     POINTS in each direction, a checkpoint every ITERATIONS, the solution to FILE
//
//   solver 800 300 solution & ...     kill it, turn the machine off
//   crs restart solver                runs the same command line in the same directory; main() begins anew
//
// `crs checkpoint PID` works as well: it asks the solver through its service, which waits for the end of an iteration.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include "crs/crs.hpp"
#include "crs/self.hpp"

namespace {

using Field = std::vector<double>;

double product(const Field& a, const Field& b) {
  double sum = 0;  // always in the same order: a sum of floating-point numbers depends on it
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

class Solver {
 public:
  explicit Solver(std::size_t points)
      : stride_(points + 2), u_(stride_ * stride_), residual_(u_), direction_(u_), image_(u_) {
    // All that the next iteration reads. `image_` is computed anew in each, and u_ alone would not be enough: the
    // iterations after it would be others. What the command line says, the restarted program knows from there.
    bool back = crs::self::protect(1, &progress_, sizeof progress_);
    back = protect(2, u_) && back;
    back = protect(3, residual_) && back;
    back = protect(4, direction_) && back;
    if (!back) begin();
  }

  std::uint64_t iteration() const { return progress_.iteration; }
  bool is_solved() const { return progress_.square <= 1e-20 * progress_.first_square; }

  void iterate() {
    // A checkpoint that another thread carries out, because `crs checkpoint` asked for it, is not to find half of it.
    const crs::CriticalScope scope;
    apply_operator();
    const double step = progress_.square / product(direction_, image_);
    for (std::size_t i = 0; i < u_.size(); ++i) u_[i] += step * direction_[i];
    for (std::size_t i = 0; i < u_.size(); ++i) residual_[i] -= step * image_[i];
    const double square = product(residual_, residual_);
    const double share = square / progress_.square;
    for (std::size_t i = 0; i < u_.size(); ++i) direction_[i] = residual_[i] + share * direction_[i];
    progress_.square = square;
    ++progress_.iteration;
  }

  void write(const std::string& name) const {
    std::FILE* const file = std::fopen(name.c_str(), "wb");
    const bool written = file != nullptr && std::fwrite(u_.data(), sizeof(double), u_.size(), file) == u_.size();
    if (file == nullptr || std::fclose(file) != 0 || !written) throw std::runtime_error("cannot write " + name);
  }

 private:
  static bool protect(std::uint64_t id, Field& field) {
    return crs::self::protect(id, field.data(), field.size() * sizeof(double));
  }

  // Heat at one point and cold at another, zero on the boundary, which the fields have around them.
  void begin() {
    const std::size_t third = stride_ / 3;
    residual_[third * stride_ + third] = 1;
    residual_[2 * third * stride_ + third] = -1;
    direction_ = residual_;
    progress_.square = progress_.first_square = product(residual_, residual_);
  }

  void apply_operator() {
    for (std::size_t row = 1; row + 1 < stride_; ++row) {
      for (std::size_t i = row * stride_ + 1; i + 1 < (row + 1) * stride_; ++i) {
        image_[i] = 4 * direction_[i] - direction_[i - 1] - direction_[i + 1] - direction_[i - stride_] -
                    direction_[i + stride_];
      }
    }
  }

  struct Progress {
    std::uint64_t iteration;
    double square;  // of the residual's length
    double first_square;
  };

  std::size_t stride_;
  Progress progress_{};
  Field u_;
  Field residual_;
  Field direction_;
  Field image_;
};

// A checkpoint that fails, because the disk is full, say, is no reason to lose the work.
void save(std::uint64_t iteration) {
  try {
    const crs::Checkpointed outcome = crs::checkpoint();
    std::printf("iteration %llu: %s\n", static_cast<unsigned long long>(iteration), outcome.reference.c_str());
  } catch (const crs::Error& problem) {
    std::fprintf(stderr, "solver: goes on without a checkpoint: %s\n", problem.what());
  }
  std::fflush(stdout);
}

void run(std::size_t points, std::uint64_t interval, const std::string& file) {
  // The memory first and then the service: from init() on, `crs checkpoint` can ask for what is there.
  Solver solver(points);
  crs::InitOptions options;
  options.component = "self";
  options.job = "solver";  // unless `crs run` or `crs restart` gave it another name
  crs::init(options);
  if (const auto snapshot = crs::self::restarted_from()) {
    std::printf("goes on with iteration %llu, from %s\n", static_cast<unsigned long long>(solver.iteration()),
                snapshot->c_str());
    std::fflush(stdout);
  }
  while (!solver.is_solved()) {
    solver.iterate();
    if (solver.iteration() % interval == 0) save(solver.iteration());
  }
  solver.write(file);
  std::printf("solved in %llu iterations\n", static_cast<unsigned long long>(solver.iteration()));
}

}  // namespace

int main(int count, char** arguments) {
  try {
    if (count != 4) throw std::invalid_argument("Usage: solver POINTS ITERATIONS FILE");
    const std::size_t points = std::stoul(arguments[1]);
    const std::uint64_t interval = std::stoul(arguments[2]);
    if (points < 2 || points > 20000 || interval == 0) throw std::invalid_argument("2 to 20000 POINTS, 1 ITERATION");
    run(points, interval, arguments[3]);
    return 0;
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "solver: %s\n", problem.what());
    return 1;
  }
}
