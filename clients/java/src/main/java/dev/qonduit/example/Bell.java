// SPDX-License-Identifier: Apache-2.0
package dev.qonduit.example;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.ErrorInfo;
import dev.qonduit.v1.AssemblerLanguage;
import dev.qonduit.v1.CreateJobRequest;
import dev.qonduit.v1.Deployment;
import dev.qonduit.v1.Job;
import dev.qonduit.v1.JobEvent;
import dev.qonduit.v1.JobServiceGrpc;
import dev.qonduit.v1.JobServiceGrpc.JobServiceBlockingStub;
import dev.qonduit.v1.JobState;
import dev.qonduit.v1.JobType;
import dev.qonduit.v1.ListResultsRequest;
import dev.qonduit.v1.QuantumProgram;
import dev.qonduit.v1.Result;
import dev.qonduit.v1.ResultServiceGrpc;
import dev.qonduit.v1.WatchJobRequest;
import dev.qonduit.v1.WatchJobResponse;
import io.grpc.Context;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.util.EnumSet;
import java.util.Iterator;
import java.util.Locale;
import java.util.Set;
import java.util.TreeMap;
import java.util.UUID;

/** Runs a Bell circuit, follows it over a stream that breaks on the way, and prints its counts. */
public final class Bell {
  private static final String CIRCUIT =
      """
      OPENQASM 2.0;
      include "qelib1.inc";
      qreg q[2];
      creg c[2];
      h q[0];
      cx q[0], q[1];
      measure q -> c;
      """;
  private static final Set<JobState> ENDED =
      EnumSet.of(
          JobState.JOB_STATE_SUCCEEDED, JobState.JOB_STATE_FAILED, JobState.JOB_STATE_CANCELLED);

  private final JobServiceBlockingStub jobs;
  private final Patience patience = new Patience();
  private Job job;
  private long lastSequence;
  private boolean leftOnPurpose;

  private Bell(JobServiceBlockingStub jobs, Job job) {
    this.jobs = jobs;
    this.job = job;
  }

  public static void main(String[] args) throws InterruptedException {
    String server = System.getenv().getOrDefault("QONDUIT_SERVER", "127.0.0.1:50051");
    String device = args.length > 0 ? args[0] : "IBM/aer_simulator";
    ManagedChannel channel =
        Grpc.newChannelBuilder(server, InsecureChannelCredentials.create()).build();
    try {
      run(channel, device);
    } catch (StatusRuntimeException error) {
      System.err.println("error: " + describe(error));
      System.exit(1);
    } catch (IllegalStateException error) {
      System.err.println("error: " + error.getMessage());
      System.exit(1);
    } finally {
      channel.shutdownNow();
    }
  }

  /** Submits the circuit, watches the job until it ends and prints the counts. */
  private static void run(ManagedChannel channel, String device) throws InterruptedException {
    JobServiceBlockingStub jobs = JobServiceGrpc.newBlockingStub(channel);
    QuantumProgram program =
        QuantumProgram.newBuilder()
            .setQuantumCircuit(CIRCUIT)
            .setAssemblerLanguage(AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2)
            .build();
    CreateJobRequest request =
        CreateJobRequest.newBuilder()
            .setJob(Job.newBuilder().setType(JobType.JOB_TYPE_RUNNER).setShots(1000))
            .setDevice(device)
            .setDeployment(Deployment.newBuilder().addPrograms(program))
            // Should the answer get lost, the request is sent again: an id never makes two jobs.
            .setRequestId(UUID.randomUUID().toString())
            .build();
    Job created = Patience.repeat(() -> jobs.createJob(request)).getJob();

    Job job = new Bell(jobs, created).follow();
    if (job.getState() != JobState.JOB_STATE_SUCCEEDED) {
      throw new IllegalStateException(
          "job %d ended as %s: %s"
              .formatted(job.getId(), name(job.getState()), job.getFailure().getMessage()));
    }

    var results = ResultServiceGrpc.newBlockingStub(channel);
    var query = ListResultsRequest.newBuilder().setJobId(job.getId()).build();
    for (Result result : Patience.repeat(() -> results.listResults(query)).getResultsList()) {
      new TreeMap<>(result.getCountsAndProbabilities().getCountsMap())
          .forEach((key, count) -> System.out.println(key + " " + count));
    }
  }

  /** Shows the job's events and returns the job as it ended, however often the stream breaks. */
  private Job follow() throws InterruptedException {
    while (!ENDED.contains(job.getState())) {
      // A call ends with the context it was started in; the job does not.
      try (Context.CancellableContext call = Context.current().withCancellation()) {
        call.run(this::watch);
      } catch (StatusRuntimeException error) {
        patience.waitAfter(error);
      }
      if (!ENDED.contains(job.getState())) {
        System.err.println("resuming after event " + lastSequence);
      }
    }
    return job;
  }

  /** Reads one stream; leaves the first one after two events, to show that nothing is lost. */
  private void watch() {
    // Events are numbered without gaps and kept: after_sequence gives what follows, each once.
    Iterator<WatchJobResponse> stream =
        jobs.watchJob(
            WatchJobRequest.newBuilder()
                .setJobId(job.getId())
                .setAfterSequence(lastSequence)
                .build());
    while (stream.hasNext()) {
      JobEvent event = stream.next().getEvent();
      patience.renew();
      if (event.hasHeartbeat()) {
        continue; // A heartbeat keeps the stream alive; it has no sequence.
      }
      show(event);
      if (lastSequence == 2 && !leftOnPurpose) {
        leftOnPurpose = true;
        System.err.println("stream cancelled on purpose");
        return;
      }
    }
  }

  private void show(JobEvent event) {
    lastSequence = event.getSequence();
    switch (event.getEventCase()) {
      case CREATED -> job = event.getCreated();
      case STATE_CHANGE -> job = event.getStateChange().getJob();
      case PROGRESS -> job = job.toBuilder().setProgress(event.getProgress().getProgress()).build();
      default -> {} // Others leave the job as it is, those that newer servers add too.
    }
    System.err.printf(
        "event %d: %s, %s, %.0f%%%n",
        lastSequence,
        event.getEventCase().name().toLowerCase(Locale.ROOT).replace('_', ' '),
        name(job.getState()),
        100 * job.getProgress());
  }

  private static String name(JobState state) {
    return state.name().replaceFirst("^JOB_STATE_", "");
  }

  /** Prints an error with its status and its machine-readable reason. */
  static String describe(StatusRuntimeException error) {
    String text = error.getStatus().getCode() + ": " + error.getStatus().getDescription();
    com.google.rpc.Status details = StatusProto.fromThrowable(error);
    try {
      for (Any detail : details.getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          text += " (reason " + detail.unpack(ErrorInfo.class).getReason() + ")";
        }
      }
    } catch (InvalidProtocolBufferException unreadable) {
      // The status carries no reason.
    }
    return text;
  }
}
