// SPDX-License-Identifier: Apache-2.0

// Bell runs a Bell circuit on a Qonduit server, follows it over a stream that breaks on the way, and prints its counts.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
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

// run submits the circuit, follows the job to its end and prints what was counted.
func run(ctx context.Context, server, device string) error {
	conn, err := grpc.NewClient(server, grpc.WithTransportCredentials(insecure.NewCredentials()))
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
		// Should the answer get lost, the same request may be sent again: the same id never makes a second job.
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

// follow shows the job's events and returns the job as it ended. It breaks its first stream after two events: a
// connection that is lost on the way is gone on with in the same manner.
func follow(ctx context.Context, jobs qonduit.JobServiceClient, job *qonduit.Job) (*qonduit.Job, error) {
	first, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := jobs.WatchJob(first, &qonduit.WatchJobRequest{JobId: job.GetId()})
	if err != nil {
		return nil, err
	}
	for resumed := false; ; {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return job, nil // The server ends a stream with OK after the job's last event, and only then.
		}
		if err != nil {
			return nil, err
		}
		event := response.GetEvent()
		if event.GetHeartbeat() != nil {
			continue // Says that the stream is alive; it has no number.
		}
		job = show(event, job)
		if event.GetSequence() == 2 && !resumed {
			cancel() // Ends the call, never the job.
			fmt.Fprintln(os.Stderr, "stream cancelled, resuming after event 2")
			// Events are numbered without gaps and kept: after_sequence gives what follows, each event once.
			request := &qonduit.WatchJobRequest{JobId: job.GetId(), AfterSequence: event.GetSequence()}
			if stream, err = jobs.WatchJob(ctx, request); err != nil {
				return nil, err
			}
			resumed = true
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

// describe tells a gRPC error with its status and the reason that programs go by; other errors as they are.
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
