#include "cli/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "cli/context.h"

namespace crs::cli {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

struct Outcome {
  int status;
  std::string output;
  std::string errors;
};

Outcome crs(const std::vector<std::string>& arguments, const std::vector<const char*>& environment = {}) {
  std::vector<const char*> block = {"HOME=/nonexistent", "CRS_CONFIG=/dev/null"};
  block.insert(block.end(), environment.begin(), environment.end());
  block.push_back(nullptr);
  std::ostringstream output;
  std::ostringstream errors;
  const int status = run_command_line(arguments, output, errors, block.data());
  return {status, output.str(), errors.str()};
}

Json json_of(const Outcome& outcome) { return Json::parse(outcome.output); }

const std::vector<std::string> kVerbs = {"run",    "checkpoint", "restart",    "list",   "show",
                                         "verify", "remove",     "components", "params", "check"};

TEST(CommandLine, WithoutAVerbIsAMistake) {
  const Outcome outcome = crs({});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_EQ(outcome.output, "");
  EXPECT_THAT(outcome.errors, HasSubstr("crs help"));
}

TEST(CommandLine, HelpListsTheVerbs) {
  const Outcome outcome = crs({"help"});
  EXPECT_EQ(outcome.status, 0);
  for (const std::string& verb : kVerbs) EXPECT_THAT(outcome.output, HasSubstr("\n  " + verb));
  EXPECT_EQ(crs({"--help"}).output, outcome.output);
  EXPECT_EQ(crs({"help", "help"}).output, outcome.output);
}

TEST(CommandLine, EveryVerbHasCompleteHelp) {
  for (const std::string& verb : kVerbs) {
    const Outcome outcome = crs({verb, "--help"});
    EXPECT_EQ(outcome.status, 0);
    EXPECT_THAT(outcome.output,
                AllOf(HasSubstr("Usage: crs " + verb), HasSubstr("Example:"), HasSubstr("Exit statuses:")))
        << verb;
    EXPECT_THAT(outcome.errors, IsEmpty());
    EXPECT_EQ(crs({"help", verb}).output, outcome.output);
  }
}

TEST(CommandLine, AnUnknownVerbLeadsToTheNearest) {
  const Outcome outcome = crs({"chekc"});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.errors,
              AllOf(StartsWith("crs: cannot "), HasSubstr("'chekc'"), HasSubstr("'check'"), EndsWith("\n")));
  EXPECT_THAT(outcome.output, IsEmpty());
  EXPECT_EQ(crs({"help", "chekc"}).status, 2);
}

TEST(CommandLine, AnUnknownOptionIsWrongUsage) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{{"--nonsense"},
                                                                                         {"components", "--nonsense"},
                                                                                         {"run", "--nonsense", "true"},
                                                                                         {"run"},
                                                                                         {"run", "--"},
                                                                                         {"help", "run", "more"},
                                                                                         {"list", "--json=3"},
                                                                                         {"list", "--store", ""},
                                                                                         {"list", "--store="},
                                                                                         {"check", ""},
                                                                                         {"components", "word"}}) {
    const Outcome outcome = crs(arguments);
    EXPECT_EQ(outcome.status, 2) << arguments[0];
    EXPECT_EQ(std::ranges::count(outcome.errors, '\n'), 1) << outcome.errors;
  }
}

TEST(CommandLine, PrintsItsVersion) { EXPECT_THAT(crs({"--version"}).output, StartsWith("crs 0.")); }

TEST(CommandLine, AnErrorIsJsonTooWhereJsonIsAskedFor) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"params", "--json", "nonsense"}, {"params", "--nonsense", "--json"}, {"--json", "nonsense"}}) {
    const Outcome outcome = crs(arguments);
    EXPECT_EQ(outcome.status, 2);
    EXPECT_EQ(json_of(outcome)["error"]["exit_status"], 2);
    EXPECT_THAT(outcome.errors, StartsWith("crs: cannot "));
  }
}

TEST(CommandLine, SharedOptionsStandBeforeAndAfterTheVerb) {
  const Outcome outcome =
      crs({"--param", "crs_base_verbose=1", "params", "--param", "crs_none_verbose=2", "--json", "--param=crs=none"});
  EXPECT_EQ(outcome.status, 0) << outcome.errors;
  std::map<std::string, Json> values;
  const Json result = json_of(outcome);
  for (const Json& parameter : result["parameters"]) values[parameter["name"]] = parameter["value"];
  EXPECT_EQ(values["crs_base_verbose"], 1);
  EXPECT_EQ(values["crs_none_verbose"], 2);
  EXPECT_EQ(values["crs"], "none");
}

TEST(Params, ShowsValueAndSource) {
  const Json parameters =
      json_of(crs({"params", "crs_base_verbose", "--json"}, {"CRS_PARAM_crs_base_verbose=3"}))["parameters"];
  ASSERT_EQ(parameters.size(), 1U);
  EXPECT_EQ(parameters[0]["value"], 3);
  EXPECT_EQ(parameters[0]["default"], 0);
  EXPECT_EQ(parameters[0]["type"], "integer");
  EXPECT_EQ(parameters[0]["source"], "environment");
}

TEST(Params, WrongSettingsAreWrongUsage) {
  EXPECT_EQ(crs({"params"}, {"CRS_PARAM_crs_base_verbose=much"}).status, 2);
  const Outcome unknown = crs({"params"}, {"CRS_PARAM_crs_base_verbos=1"});
  EXPECT_EQ(unknown.status, 2);
  EXPECT_THAT(unknown.errors, HasSubstr("'crs_base_verbose'"));
}

TEST(Components, ListsNoneAndMarksTheSelectedOne) {
  const Json components = json_of(crs({"components", "--json", "--param", "crs=none"}))["components"];
  const auto none = std::ranges::find_if(components, [](const Json& component) { return component["name"] == "none"; });
  ASSERT_NE(none, components.end());
  EXPECT_EQ((*none)["selected"], true);
  EXPECT_EQ((*none)["priority"], 1);
}

TEST(Run, AComponentThatDoesNotExistIsWrongUsage) {
  const Outcome outcome = crs({"run", "--component", "nope", "--", "true"});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.errors, AllOf(HasSubstr("'nope'"), HasSubstr("none (priority 1)")));
}

TEST(Printable, ShowsControlCharacters) {
  EXPECT_EQ(printable("a\x1b[31mb\x7f"), "a\\x1b[31mb\\x7f");
  EXPECT_EQ(printable("one\ntwo"), "one; two");
  EXPECT_EQ(printable("grün"), "grün");
}

}  // namespace
}  // namespace crs::cli
