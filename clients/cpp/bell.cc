// SPDX-License-Identifier: Apache-2.0

// Runs a Bell circuit on a Qonduit server, follows it over a stream that breaks on the way, and
// prints its counts.

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>

#include "qonduit/v1/job_service.grpc.pb.h"
#include "qonduit/v1/result_service.grpc.pb.h"

namespace {

namespace pb = qonduit::v1;

constexpr char kCircuit[] = R"(OPENQASM 2.0;
include "qelib1.inc";
qreg q[2];
creg c[2];
h q[0];
cx q[0], q[1];
measure q -> c;
)";

// Prints an error with its status and its machine-readable reason.
std::string Describe(const grpc::Status& status) {
  static const char* const kNames[] = {"OK",
                                       "CANCELLED",
                                       "UNKNOWN",
                                       "INVALID_ARGUMENT",
                                       "DEADLINE_EXCEEDED",
                                       "NOT_FOUND",
                                       "ALREADY_EXISTS",
                                       "PERMISSION_DENIED",
                                       "RESOURCE_EXHAUSTED",
                                       "FAILED_PRECONDITION",
                                       "ABORTED",
                                       "OUT_OF_RANGE",
                                       "UNIMPLEMENTED",
                                       "INTERNAL",
                                       "UNAVAILABLE",
                                       "DATA_LOSS",
                                       "UNAUTHENTICATED"};
  std::string text = kNames[status.error_code()] + (": " + status.error_message());
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  for (const auto& detail : details.details()) {
    if (google::rpc::ErrorInfo info; detail.UnpackTo(&info)) {
      text += " (reason " + info.reason() + ")";
    }
  }
  return text;
}

// Waits for a server that is away. Safe for every call made here: request_id makes it so for
// CreateJob, after_sequence for WatchJob, and reading changes nothing.
class Patience {
 public:
  // Makes a call, as often as it takes; a context serves for one attempt.
  template <typename Call>
  static void Repeat(Call call) {
    for (Patience patience;;) {
      grpc::ClientContext context;
      const grpc::Status status = call(&context);
      if (status.ok()) return;
      patience.WaitAfter(status);
    }
  }

  // Forgets earlier failures.
  void Renew() { failures_ = 0; }

  // Waits longer after each consecutive failure; rethrows errors that a retry cannot resolve.
  void WaitAfter(const grpc::Status& status) {
    if (status.error_code() != grpc::UNAVAILABLE || ++failures_ > kMostFailures) {
      throw std::runtime_error(Describe(status));
    }
    const std::chrono::milliseconds pause(100 << std::min(failures_, 5));  // 0.2 s, 0.4 s ... 3.2 s
    std::cerr << "trying again in " << pause.count() << " ms: " << Describe(status) << std::endl;
    std::this_thread::sleep_for(pause);
  }

 private:
  static constexpr int kMostFailures = 12;  // Half a minute in a row.
  int failures_ = 0;
};

// A random UUID (version 4).
std::string NewUuid() {
  static constexpr char kHex[] = "0123456789abcdef";
  std::random_device random;
  std::string uuid = "xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx";
  for (char& digit : uuid) {
    if (digit == 'x') digit = kHex[random() % 16];
    if (digit == 'y') digit = kHex[8 + random() % 4];
  }
  return uuid;
}

std::string Name(pb::JobState state) {
  const std::string& name = pb::JobState_Name(state);
  return name.empty() ? "state of a newer server" : name.substr(std::string("JOB_STATE_").size());
}

bool HasEnded(const pb::Job& job) {
  return job.state() == pb::JOB_STATE_SUCCEEDED || job.state() == pb::JOB_STATE_FAILED ||
         job.state() == pb::JOB_STATE_CANCELLED;
}

pb::Job Submit(pb::JobService::Stub& jobs, const std::string& device) {
  pb::CreateJobRequest request;
  request.mutable_job()->set_type(pb::JOB_TYPE_RUNNER);
  request.mutable_job()->set_shots(1000);
  request.set_device(device);
  pb::QuantumProgram* program = request.mutable_deployment()->add_programs();
  program->set_quantum_circuit(kCircuit);
  program->set_assembler_language(pb::ASSEMBLER_LANGUAGE_QASM2);
  // Should the answer get lost, the request is sent again: an id never makes two jobs.
  request.set_request_id(NewUuid());
  pb::CreateJobResponse response;
  Patience::Repeat([&](auto* context) { return jobs.CreateJob(context, request, &response); });
  return response.job();
}

// Prints one line for an event and keeps the job as it is after it.
void Show(const pb::JobEvent& event, pb::Job& job) {
  if (event.has_created()) job = event.created();
  if (event.has_state_change()) job = event.state_change().job();
  if (event.has_progress()) job.set_progress(event.progress().progress());
  const auto* field = pb::JobEvent::descriptor()->FindFieldByNumber(event.event_case());
  std::string kind = field != nullptr ? field->name() : "event of a newer server";
  std::replace(kind.begin(), kind.end(), '_', ' ');
  std::cerr << "event " << event.sequence() << ": " << kind << ", " << Name(job.state()) << ", "
            << std::lround(100 * job.progress()) << "%" << std::endl;
}

// Shows the job's events and returns the job as it ended, however often the stream breaks.
pb::Job Follow(pb::JobService::Stub& jobs, pb::Job job) {
  Patience patience;
  bool left_on_purpose = false;
  pb::WatchJobRequest request;
  request.set_job_id(job.id());
  while (!HasEnded(job)) {
    grpc::ClientContext context;
    const auto stream = jobs.WatchJob(&context, request);
    bool leaving = false;
    for (pb::WatchJobResponse response; !leaving && stream->Read(&response);) {
      patience.Renew();
      if (response.event().has_heartbeat()) continue;  // Keeps the stream alive.
      Show(response.event(), job);
      // Events are numbered without gaps and kept: after_sequence gives what follows, each once.
      request.set_after_sequence(response.event().sequence());
      if (response.event().sequence() == 2 && !left_on_purpose) {
        left_on_purpose = leaving = true;
        std::cerr << "stream cancelled on purpose" << std::endl;
        context.TryCancel();  // Ends the call, never the job.
      }
    }
    const grpc::Status status = stream->Finish();
    if (!status.ok() && !leaving) patience.WaitAfter(status);
    if (!HasEnded(job)) {
      std::cerr << "resuming after event " << request.after_sequence() << std::endl;
    }
  }
  return job;
}

// Submits the circuit, watches the job until it ends and prints the counts.
void Run(const std::string& server, const std::string& device) {
  const auto channel = grpc::CreateChannel(server, grpc::InsecureChannelCredentials());
  const auto jobs = pb::JobService::NewStub(channel);
  const pb::Job job = Follow(*jobs, Submit(*jobs, device));
  if (job.state() != pb::JOB_STATE_SUCCEEDED) {
    throw std::runtime_error("job " + std::to_string(job.id()) + " ended as " + Name(job.state()) +
                             ": " + job.failure().message());
  }

  const auto results = pb::ResultService::NewStub(channel);
  pb::ListResultsRequest request;
  request.set_job_id(job.id());
  pb::ListResultsResponse response;
  Patience::Repeat(
      [&](auto* context) { return results->ListResults(context, request, &response); });
  for (const pb::Result& result : response.results()) {
    const auto& counts = result.counts_and_probabilities().counts();
    for (const auto& [key, count] : std::map(counts.begin(), counts.end())) {
      std::cout << key << " " << count << "\n";
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const char* server = std::getenv("QONDUIT_SERVER");
  try {
    Run(server != nullptr ? server : "127.0.0.1:50051", argc > 1 ? argv[1] : "IBM/aer_simulator");
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << std::endl;
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
