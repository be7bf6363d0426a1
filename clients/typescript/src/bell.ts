// SPDX-License-Identifier: Apache-2.0

// Runs a Bell circuit on a Qonduit server, follows it over a stream that breaks on the way, and prints its counts.

import { randomUUID } from "node:crypto";
import { setTimeout } from "node:timers/promises";

import { type Client, Code, ConnectError, createClient, type Interceptor, type Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";

import { ErrorInfoSchema } from "./contract/google/rpc/error_details_pb.js";
import type { JobEvent } from "./contract/qonduit/v1/event_pb.js";
import { type Job, JobState, JobType } from "./contract/qonduit/v1/job_pb.js";
import { JobService } from "./contract/qonduit/v1/job_service_pb.js";
import { AssemblerLanguage } from "./contract/qonduit/v1/provider_pb.js";
import { ResultService } from "./contract/qonduit/v1/result_service_pb.js";

const BELL = `OPENQASM 2.0;
include "qelib1.inc";
qreg q[2];
creg c[2];
h q[0];
cx q[0], q[1];
measure q -> c;
`;

/** Submits the circuit, watches the job until it ends and prints the counts. */
async function run(transport: Transport, device: string): Promise<void> {
  const jobs = createClient(JobService, transport);
  const { job } = await jobs.createJob({
    job: { type: JobType.RUNNER, shots: 1000n },
    device,
    deployment: { programs: [{ quantumCircuit: BELL, assemblerLanguage: AssemblerLanguage.QASM2 }] },
    // Should the answer get lost, the request is sent again: the same id never makes a second job.
    requestId: randomUUID(),
  });

  const ended = await follow(jobs, job!);
  if (ended.state !== JobState.SUCCEEDED) {
    throw new Error(`job ${ended.id} ended as ${JobState[ended.state]}: ${ended.failure?.message}`);
  }

  const { results } = await createClient(ResultService, transport).listResults({ jobId: ended.id });
  for (const { resultDict } of results) {
    if (resultDict.case === "countsAndProbabilities") {
      for (const [key, count] of Object.entries(resultDict.value.counts).sort()) {
        console.log(key, count.toString());
      }
    }
  }
}

/** Shows the job's events and returns the job as it ended, however often the stream breaks. */
async function follow(jobs: Client<typeof JobService>, job: Job): Promise<Job> {
  let seen = 0n;
  let broken = false;
  let failures = 0;
  for (;;) {
    const call = new AbortController();
    try {
      // Events are numbered without gaps and kept: afterSequence gives what follows, each event once.
      for await (const { event } of jobs.watchJob({ jobId: job.id, afterSequence: seen }, { signal: call.signal })) {
        failures = 0;
        if (event === undefined || event.event.case === "heartbeat") {
          continue; // A heartbeat keeps the stream alive; it has no sequence.
        }
        job = show(event, job);
        seen = event.sequence;
        if (seen === 2n && !broken) {
          broken = true; // The first stream is left after two events, to show that nothing is lost.
          call.abort(); // Ends the call, never the job.
        }
      }
      return job; // The server ends a stream with OK after the job's last event, and only then.
    } catch (error) {
      if (!call.signal.aborted) {
        await waitAfter(error, ++failures);
      }
      console.error(`resuming after event ${seen}`);
    }
  }
}

/** Waits longer after each consecutive failure, 13 seconds in total; rethrows errors that a retry cannot resolve. */
async function waitAfter(error: unknown, failures: number): Promise<void> {
  // The server's own errors have a reason; other errors concern the connection.
  const lost = error instanceof ConnectError && error.findDetails(ErrorInfoSchema).length === 0;
  const away = error instanceof ConnectError && error.code === Code.Unavailable;
  if (!(lost || away) || failures > 6) {
    throw error;
  }
  await setTimeout(100 * 2 ** failures);
}

/** Sends a request again while the server is away: requestId makes that safe, and reading changes nothing. */
const repeat: Interceptor = (next) => async (request) => {
  for (let failures = 1; ; failures++) {
    try {
      return await next(request);
    } catch (error) {
      if (request.stream) {
        throw error; // For `follow` to resume.
      }
      await waitAfter(error, failures);
    }
  }
};

/** Prints one line for an event and returns the job as it is after it. */
function show({ sequence, event }: JobEvent, job: Job): Job {
  let kind: string = event.case ?? "event of a newer server";
  switch (event.case) {
    case "created":
      job = event.value;
      break;
    case "stateChange":
      job = event.value.job ?? job;
      break;
    case "progress":
      job = { ...job, progress: event.value.progress ?? 0 };
      break;
    case "log":
      kind = `log: ${event.value.message}`;
      break;
  }
  const percent = Math.round(100 * (job.progress ?? 0));
  console.error(`event ${sequence}: ${kind}, ${JobState[job.state]}, ${percent}%`);
  return job;
}

/** A gRPC error with its status and the reason that programs go by; other errors as they are. */
function describe(error: unknown): string {
  if (!(error instanceof ConnectError)) {
    return String(error);
  }
  const reasons = error.findDetails(ErrorInfoSchema).map(({ reason }) => ` (reason ${reason})`);
  return `${error.message}${reasons.join("")}`;
}

const baseUrl = `http://${process.env["QONDUIT_SERVER"] ?? "127.0.0.1:50051"}`;
const connection = new Http2SessionManager(baseUrl);
try {
  const transport = createGrpcTransport({ baseUrl, sessionManager: connection, interceptors: [repeat] });
  await run(transport, process.argv[2] ?? "IBM/aer_simulator");
} catch (error) {
  console.error(`error: ${describe(error)}`);
  process.exitCode = 1;
} finally {
  connection.abort(); // Node would wait for it to be idle for long enough.
}
