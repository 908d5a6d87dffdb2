// What the verbs that look at one snapshot have in common: how it is named.
#pragma once

#include <string>

#include "cli/verb.h"

namespace crs::cli {

// Whether `text` names a snapshot by its directory: no reference has a '/'.
inline bool is_location(const std::string& text) { return text.find('/') != std::string::npos; }

// What to do after damage in a snapshot: which older one has a sound manifest (no more than that was looked at), or
// that there is none.
std::string advice_after_damage(Context& context, const Reference& damaged);

// The snapshot that the user names, by its reference, its job (the newest one), or its directory. Throws, where its
// manifest is damaged with the advice above.
SnapshotInfo open_snapshot(Context& context, const std::string& text);

class SnapshotVerb : public Verb {
 public:
  std::string action() const override { return target_.empty() ? name() : name() + " " + target_; }
  void define(CLI::App& app) override {
    app.add_option("SNAPSHOT", target_, "The snapshot, or a job for its newest one")
        ->type_name("JOB[@SEQ]|DIR")
        ->required();
  }

 protected:
  // It need not lie in the store.
  bool is_named_by_location() const { return is_location(target_); }
  // The manifest alone is read. Throws.
  SnapshotInfo open(Context& context) const { return open_snapshot(context, target_); }

 private:
  std::string target_;
};

}  // namespace crs::cli
