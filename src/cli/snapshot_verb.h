// What the verbs that look at one snapshot have in common: how it is named.
#pragma once

#include <string>

#include "cli/verb.h"

namespace crs::cli {

class SnapshotVerb : public Verb {
 public:
  std::string action() const override { return target_.empty() ? name() : name() + " " + target_; }
  void define(CLI::App& app) override {
    app.add_option("SNAPSHOT", target_, "The snapshot, or a job for its newest one")
        ->type_name("JOB[@SEQ]")
        ->required();
  }

 protected:
  // The manifest alone is read. Throws.
  SnapshotInfo open(Context& context) const { return context.store().open(Reference::parse(target_)); }

 private:
  std::string target_;
};

}  // namespace crs::cli
