#include "framework/parameters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>

#include "crs/error.hpp"

namespace crs {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// A directory of its own, removed at the end.
class ParametersTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "crs-parameters-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::filesystem::path write(const std::filesystem::path& name, const std::string& text) {
    const auto file = directory_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
    return file;
  }

  // The message of the Error of kind Usage that `action` throws.
  template <typename Action>
  static std::string usage_error(Action action) {
    try {
      action();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Usage);
      return error.what();
    }
    ADD_FAILURE() << "nothing was thrown";
    return "";
  }

  static Parameter only(const Parameters& parameters) {
    const auto all = parameters.all();
    EXPECT_EQ(all.size(), 1U);
    return all.at(0);
  }

  std::filesystem::path directory_;
};

TEST_F(ParametersTest, HasItsDefaultWithoutASetting) {
  Parameters parameters;
  parameters.declare({"crs_limit", std::int64_t{7}, "A limit."});
  EXPECT_EQ(parameters.integer("crs_limit"), 7);
  EXPECT_EQ(only(parameters).source, ParameterSource::Default);
  EXPECT_EQ(only(parameters).origin, "");
}

TEST_F(ParametersTest, TheLaterSourceWinsInWhateverOrderTheyAreRead) {
  const auto file = write("crs.toml", "crs_limit = 1\n");
  Parameters parameters;
  parameters.declare({"crs_limit", std::int64_t{0}, "A limit."});
  parameters.read_option("crs_limit=3");
  parameters.read_environment({{"CRS_PARAM_crs_limit", "2"}});
  parameters.read_file(file);
  EXPECT_EQ(parameters.integer("crs_limit"), 3);
  EXPECT_EQ(only(parameters).source, ParameterSource::CommandLine);
}

TEST_F(ParametersTest, EachSourceOverridesTheOneBefore) {
  Parameters parameters;
  parameters.declare({"crs_limit", std::int64_t{0}, "A limit."});
  parameters.read_file(write("crs.toml", "\ncrs_limit = 1\n"));
  EXPECT_EQ(parameters.integer("crs_limit"), 1);
  EXPECT_EQ(only(parameters).origin, (directory_ / "crs.toml").native() + ":2");
  parameters.read_environment({{"CRS_PARAM_crs_limit", "2"}, {"CRS_OTHER", "9"}});
  EXPECT_EQ(parameters.integer("crs_limit"), 2);
  EXPECT_EQ(only(parameters).source, ParameterSource::Environment);
  parameters.read_option("crs_limit=3");
  EXPECT_EQ(parameters.integer("crs_limit"), 3);
  parameters.read_option("crs_limit=4");
  EXPECT_EQ(parameters.integer("crs_limit"), 4) << "of two on the command line the later one counts";
}

TEST_F(ParametersTest, ASettingMayComeBeforeTheDeclaration) {
  Parameters parameters;
  parameters.read_option("crs_name=a=b\nc");
  parameters.declare({"crs_name", std::string("none"), "A name."});
  EXPECT_EQ(parameters.string("crs_name"), "a=b\nc");
}

TEST_F(ParametersTest, BooleansHaveSeveralWords) {
  for (const auto& [word, expected] : std::map<std::string, bool>{{"true", true},
                                                                  {"yes", true},
                                                                  {"on", true},
                                                                  {"1", true},
                                                                  {"false", false},
                                                                  {"no", false},
                                                                  {"off", false},
                                                                  {"0", false}}) {
    Parameters parameters;
    parameters.declare({"crs_flag", !expected, "A flag."});
    parameters.read_option("crs_flag=" + word);
    EXPECT_EQ(parameters.boolean("crs_flag"), expected) << word;
  }
}

TEST_F(ParametersTest, AWrongTypeNamesNameValueTypeAndSource) {
  for (const std::string value : {"many", "", "7x", "1.5", "99999999999999999999", " 7"}) {
    Parameters parameters;
    parameters.declare({"crs_limit", std::int64_t{0}, "A limit."});
    EXPECT_THAT(usage_error([&] { parameters.read_option("crs_limit=" + value); }),
                AllOf(HasSubstr("crs_limit"), HasSubstr("an integer"), HasSubstr("'" + value + "'"),
                      HasSubstr("command line")));
  }
  Parameters parameters;
  parameters.read_environment({{"CRS_PARAM_crs_flag", "maybe"}});
  EXPECT_THAT(
      usage_error([&] { parameters.declare({"crs_flag", true, "A flag."}); }),
      AllOf(HasSubstr("crs_flag"), HasSubstr("a boolean"), HasSubstr("maybe"), HasSubstr("CRS_PARAM_crs_flag")));
}

TEST_F(ParametersTest, AFilesOwnTypesCount) {
  Parameters parameters;
  parameters.declare({"crs_limit", std::int64_t{0}, "A limit."});
  EXPECT_THAT(usage_error([&] { parameters.read_file(write("crs.toml", "crs_limit = \"7\"\n")); }),
              AllOf(HasSubstr("crs_limit"), HasSubstr("an integer"), HasSubstr("a string"), HasSubstr("crs.toml:1")));
}

TEST_F(ParametersTest, AFileThatIsNotTomlNamesTheLine) {
  Parameters parameters;
  EXPECT_THAT(usage_error([&] { parameters.read_file(write("crs.toml", "a = 1\nb = = 2\n")); }),
              HasSubstr("crs.toml:2"));
  EXPECT_THAT(usage_error([&] { parameters.read_file(write("crs.toml", "[crs]\nlimit = 2\n")); }),
              AllOf(HasSubstr("crs.toml:1"), HasSubstr("'crs'")));
}

TEST_F(ParametersTest, AnUnknownNameLeadsToTheNearest) {
  Parameters parameters;
  parameters.declare({"crs_base_verbose", std::int64_t{0}, "How much is said."});
  parameters.declare({"crs", std::string(), "The component."});
  parameters.reject_unknown();
  parameters.read_option("crs_base_verbsoe=1");
  EXPECT_THAT(usage_error([&] { parameters.reject_unknown(); }),
              AllOf(HasSubstr("'crs_base_verbsoe'"), HasSubstr("'crs_base_verbose'"), HasSubstr("command line")));
}

TEST_F(ParametersTest, AnOptionNeedsNameAndValue) {
  Parameters parameters;
  usage_error([&] { parameters.read_option("crs"); });
  usage_error([&] { parameters.read_option("=native"); });
  parameters.read_option("crs=");
}

TEST_F(ParametersTest, ReadingAsAnotherTypeOrUndeclaredIsADefect) {
  Parameters parameters;
  parameters.declare({"crs", std::string(), "The component."});
  EXPECT_THROW(parameters.integer("crs"), Error);
  EXPECT_THROW(parameters.string("crs_native"), Error);
  EXPECT_THROW(parameters.declare({"crs", true, "Twice."}), Error);
}

TEST_F(ParametersTest, FindsTheConfigurationFiles) {
  const auto system = write("etc/crs.toml", "");
  const auto xdg = write("xdg/crs/crs.toml", "");
  const auto home = write("home/.config/crs/crs.toml", "");
  const auto etc = directory_ / "etc";
  const std::string home_variable = directory_ / "home";
  using Files = std::vector<std::filesystem::path>;
  EXPECT_EQ(configuration_files({{"HOME", home_variable}}, etc), (Files{system, home}));
  EXPECT_EQ(configuration_files({{"HOME", home_variable}, {"XDG_CONFIG_HOME", directory_ / "xdg"}}, etc),
            (Files{system, xdg}));
  EXPECT_EQ(configuration_files({{"HOME", home_variable}, {"CRS_CONFIG", "/nowhere"}}, etc),
            (Files{system, "/nowhere"}));
  EXPECT_EQ(configuration_files({{"HOME", directory_ / "nobody"}}, directory_), Files{});
  EXPECT_EQ(configuration_files({}, directory_), Files{});
}

TEST_F(ParametersTest, AConfigurationFileThatIsNamedMustExist) {
  Parameters parameters;
  EXPECT_THROW(parameters.read_standard_sources({{"CRS_CONFIG", directory_ / "missing.toml"}}), Error);
}

TEST(ReadEnvironment, TakesNamesWithValues) {
  const char* const block[] = {"A=1", "B=x=y", "A=2", "odd", "EMPTY=", nullptr};
  EXPECT_EQ(read_environment(block), (Environment{{"A", "1"}, {"B", "x=y"}, {"EMPTY", ""}}));
}

}  // namespace
}  // namespace crs
