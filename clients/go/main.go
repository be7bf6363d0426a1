// SPDX-License-Identifier: Apache-2.0

// Bell runs a Bell circuit on a Qonduit server, follows it over a stream that breaks on the way, and prints its counts.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	qonduit "qonduit.dev/contract/qonduit/v1"
)

const bell = `OPENQASM 2.0;
include "qelib1.inc";
qreg q[2];
creg c[2];
h q[0];
cx q[0], q[1];
measure q -> c;
`

// Calls are repeated while the server is away: RequestId makes that safe, and reading changes nothing.
const patience = `{"methodConfig": [{
	"name": [{}],
	"retryPolicy": {
		"maxAttempts": 5, "initialBackoff": "0.5s", "backoffMultiplier": 3, "maxBackoff": "10s",
		"retryableStatusCodes": ["UNAVAILABLE"]
	}
}]}`

var ended = []qonduit.JobState{
	qonduit.JobState_JOB_STATE_SUCCEEDED, qonduit.JobState_JOB_STATE_FAILED, qonduit.JobState_JOB_STATE_CANCELLED,
}

func main() {
	device := "IBM/aer_simulator"
	if len(os.Args) > 1 {
		device = os.Args[1]
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, cmp.Or(os.Getenv("QONDUIT_SERVER"), "127.0.0.1:50051"), device); err != nil {
		fmt.Fprintln(os.Stderr, "error:", describe(err))
		os.Exit(1)
	}
}

// run submits the circuit, watches the job until it ends and prints the counts.
func run(ctx context.Context, server, device string) error {
	conn, err := grpc.NewClient(
		server, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultServiceConfig(patience),
	)
	if err != nil {
		return err
	}
	defer conn.Close()
	jobs := qonduit.NewJobServiceClient(conn)

	created, err := jobs.CreateJob(ctx, &qonduit.CreateJobRequest{
		Job:    &qonduit.Job{Type: qonduit.JobType_JOB_TYPE_RUNNER, Shots: 1000},
		Device: device,
		Deployment: &qonduit.Deployment{Programs: []*qonduit.QuantumProgram{{
			QuantumCircuit:    bell,
			AssemblerLanguage: qonduit.AssemblerLanguage_ASSEMBLER_LANGUAGE_QASM2,
		}}},
		// Should the answer get lost, the request is sent again: the same id never makes a second job.
		RequestId: uuid.NewString(),
	})
	if err != nil {
		return err
	}

	job, err := follow(ctx, jobs, created.GetJob())
	if err != nil {
		return err
	}
	if job.GetState() != qonduit.JobState_JOB_STATE_SUCCEEDED {
		return fmt.Errorf("job %d ended as %s: %s", job.GetId(), name(job.GetState()), job.GetFailure().GetMessage())
	}

	listed, err := qonduit.NewResultServiceClient(conn).ListResults(ctx, &qonduit.ListResultsRequest{JobId: job.GetId()})
	if err != nil {
		return err
	}
	for _, result := range listed.GetResults() {
		counts := result.GetCountsAndProbabilities().GetCounts()
		for _, key := range slices.Sorted(maps.Keys(counts)) {
			fmt.Println(key, counts[key])
		}
	}
	return nil
}

// follow shows the job's events and returns the job as it ended, however often the stream breaks.
func follow(ctx context.Context, jobs qonduit.JobServiceClient, job *qonduit.Job) (*qonduit.Job, error) {
	var seen int64
	alive, left := false, false
	for !slices.Contains(ended, job.GetState()) {
		if seen > 0 {
			fmt.Fprintln(os.Stderr, "resuming after event", seen)
		}
		for event, err := range watch(ctx, jobs, job.GetId(), seen) {
			if err != nil && (!alive || status.Code(err) != codes.Unavailable) {
				return nil, err // A retry cannot resolve it, or did not.
			}
			alive = err == nil
			if event.GetSequence() == 0 {
				continue // A heartbeat keeps the stream alive; it has no sequence.
			}
			job = show(event, job)
			if seen = event.GetSequence(); seen == 2 && !left {
				left = true // The first stream is left after two events, to show that nothing is lost.
				break
			}
		}
	}
	return job, nil
}

// watch yields what WatchJob sends, and then the error that ended the stream, if one did. Leaving the loop ends the
// call, never the job.
func watch(ctx context.Context, jobs qonduit.JobServiceClient, id, after int64) iter.Seq2[*qonduit.JobEvent, error] {
	return func(yield func(*qonduit.JobEvent, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		// Events are numbered without gaps and kept: after_sequence gives what follows, each event once.
		stream, err := jobs.WatchJob(ctx, &qonduit.WatchJobRequest{JobId: id, AfterSequence: after})
		for err == nil {
			var response *qonduit.WatchJobResponse
			if response, err = stream.Recv(); err == nil && !yield(response.GetEvent(), nil) {
				return
			}
		}
		if !errors.Is(err, io.EOF) {
			yield(nil, err)
		}
	}
}

// show prints one line for an event and returns the job as it is after it.
func show(event *qonduit.JobEvent, job *qonduit.Job) *qonduit.Job {
	kind := "event of a newer server"
	switch change := event.GetEvent().(type) {
	case *qonduit.JobEvent_Created:
		kind, job = "created", change.Created
	case *qonduit.JobEvent_StateChange:
		kind, job = "state change", change.StateChange.GetJob()
	case *qonduit.JobEvent_Progress:
		kind, job.Progress = "progress", change.Progress.Progress
	case *qonduit.JobEvent_ProgramRun:
		kind = "program run"
	case *qonduit.JobEvent_ResultReady:
		kind = "result ready"
	case *qonduit.JobEvent_Log:
		kind = "log: " + change.Log.GetMessage()
	}
	fmt.Fprintf(os.Stderr, "event %d: %s, %s, %.0f%%\n", event.GetSequence(), kind, name(job.GetState()), 100*job.GetProgress())
	return job
}

func name(state qonduit.JobState) string {
	return strings.TrimPrefix(state.String(), "JOB_STATE_")
}

// describe returns a gRPC error with its status and its machine-readable reason; other errors unchanged.
func describe(err error) string {
	answer, ok := status.FromError(err)
	if !ok {
		return err.Error()
	}
	text := fmt.Sprintf("%s: %s", code.Code(answer.Code()), answer.Message())
	for _, detail := range answer.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			text += fmt.Sprintf(" (reason %s)", info.GetReason())
		}
	}
	return text
}
