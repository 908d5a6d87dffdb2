// A service with three layers that note what they are told, and a component that only pretends.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "crs/service.hpp"
#include "service/world.h"

namespace crs::testing {

// A layer that notes what it is told in a common list ("upper continue") and answers as it is told to.
class NotingLayer : public Layer {
 public:
  NotingLayer(std::string name, std::vector<std::string>& list) : name_(std::move(name)), list_(list) {}
  Answer notify(State state) override {
    list_.push_back(name_ + " " + name_of(state));
    return answer ? answer(state) : Answer::Done;
  }
  std::function<Answer(State)> answer;

 private:
  std::string name_;
  std::vector<std::string>& list_;
};

class ServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (NotingLayer* layer : {&low_, &middle_, &high_}) {
      registrations_.push_back(service_.register_layer(layer == &low_      ? "low"
                                                       : layer == &middle_ ? "middle"
                                                                           : "high",
                                                       *layer));
    }
  }
  void end_in(State state) {
    module_.happen = [state] { return state; };
    options_.after = state == State::Term ? AfterCheckpoint::Kill : AfterCheckpoint::Continue;
  }

  ServiceCheckpointOptions options_;
  std::vector<std::string> told_;
  PretendedModule module_;
  Service service_{module_, Capabilities{}, counting_places()};
  NotingLayer low_{"low", told_};
  NotingLayer middle_{"middle", told_};
  NotingLayer high_{"high", told_};
  std::vector<LayerRegistration> registrations_;
};

}  // namespace crs::testing
