// SPDX-License-Identifier: Apache-2.0

//! Runs a Bell circuit on a Qonduit server, follows it over a stream that breaks on the way, and prints its counts.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::process::ExitCode;

use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;
use uuid::Uuid;

use patience::Patience;
use qonduit::job_event::Event;
use qonduit::job_service_client::JobServiceClient;
use qonduit::result::ResultDict;
use qonduit::result_service_client::ResultServiceClient;
use qonduit::{
    AssemblerLanguage, CreateJobRequest, Deployment, Job, JobEvent, JobState, JobType,
    ListResultsRequest, QuantumProgram, WatchJobRequest,
};

mod patience;

/// The contract, as `make generate` writes it.
#[allow(dead_code, clippy::all)]
mod qonduit {
    include!("../../../generated/rust/qonduit/v1/qonduit.v1.rs");
}

const CIRCUIT: &str = r#"OPENQASM 2.0;
include "qelib1.inc";
qreg q[2];
creg c[2];
h q[0];
cx q[0], q[1];
measure q -> c;
"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let server = env::var("QONDUIT_SERVER").unwrap_or_else(|_| "127.0.0.1:50051".into());
    let device = env::args()
        .nth(1)
        .unwrap_or_else(|| "IBM/aer_simulator".into());
    match run(&server, device).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match error.downcast_ref::<Status>() {
                Some(status) => eprintln!("error: {}", describe(status)),
                None => eprintln!("error: {error}"),
            }
            ExitCode::FAILURE
        }
    }
}

/// Submits the circuit, watches the job until it ends and prints the counts.
async fn run(server: &str, device: String) -> Result<(), Box<dyn Error>> {
    let channel = Endpoint::from_shared(format!("http://{server}"))?.connect_lazy();
    let mut jobs = JobServiceClient::new(channel.clone());

    let program = QuantumProgram {
        quantum_circuit: CIRCUIT.into(),
        assembler_language: AssemblerLanguage::Qasm2.into(),
        ..Default::default()
    };
    let request = CreateJobRequest {
        job: Some(Job {
            r#type: JobType::Runner.into(),
            shots: 1000,
            ..Default::default()
        }),
        device,
        deployment: Some(Deployment {
            programs: vec![program],
            ..Default::default()
        }),
        // Should the answer get lost, the request is sent again: an id never makes two jobs.
        request_id: Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let created = Patience::default()
        .call(async || jobs.create_job(request.clone()).await)
        .await?;

    let job = follow(&mut jobs, created.job.unwrap_or_default()).await?;
    if job.state() != JobState::Succeeded {
        let failure = job.failure.as_ref().map_or("", |failure| &failure.message);
        return Err(format!("job {} ended as {}: {failure}", job.id, name(job.state())).into());
    }

    let mut results = ResultServiceClient::new(channel);
    let query = ListResultsRequest {
        job_id: job.id,
        ..Default::default()
    };
    let listed = Patience::default()
        .call(async || results.list_results(query.clone()).await)
        .await?;
    for result in listed.results {
        if let Some(ResultDict::CountsAndProbabilities(found)) = result.result_dict {
            for (key, count) in BTreeMap::from_iter(found.counts) {
                println!("{key} {count}");
            }
        }
    }
    Ok(())
}

/// Shows the job's events and returns the job as it ended, however often the stream breaks.
async fn follow(jobs: &mut JobServiceClient<Channel>, mut job: Job) -> Result<Job, Status> {
    let mut patience = Patience::default();
    let mut last_sequence = 0;
    let mut left_on_purpose = false;
    while !has_ended(&job) {
        // Events are numbered without gaps and kept: after_sequence gives what follows, each once.
        let request = WatchJobRequest {
            job_id: job.id,
            after_sequence: last_sequence,
            ..Default::default()
        };
        let watched = async {
            let mut stream = jobs.watch_job(request).await?.into_inner();
            while let Some(response) = stream.message().await? {
                patience.renew();
                let Some(event) = response.event.filter(|event| event.sequence > 0) else {
                    continue; // A heartbeat keeps the stream alive; it has no sequence.
                };
                last_sequence = event.sequence;
                show(event, &mut job);
                if last_sequence == 2 && !left_on_purpose {
                    left_on_purpose = true;
                    eprintln!("stream cancelled on purpose");
                    break; // Dropping the stream ends the call, never the job.
                }
            }
            Ok(())
        };
        if let Err(status) = watched.await {
            patience.wait_after(status).await?;
        }
        if !has_ended(&job) {
            eprintln!("resuming after event {last_sequence}");
        }
    }
    Ok(job)
}

/// Prints one line for an event and keeps the job as it is after it.
fn show(event: JobEvent, job: &mut Job) {
    let kind = match event.event {
        Some(Event::Created(created)) => {
            *job = created;
            "created"
        }
        Some(Event::StateChange(change)) => {
            if let Some(changed) = change.job {
                *job = changed;
            }
            "state change"
        }
        Some(Event::Updated(updated)) => {
            *job = updated;
            "updated"
        }
        Some(Event::Progress(progress)) => {
            job.progress = progress.progress;
            "progress"
        }
        Some(Event::ProgramRun(_)) => "program run",
        Some(Event::ResultReady(_)) => "result ready",
        Some(Event::Log(_)) => "log",
        Some(Event::ProviderStatus(_)) => "provider status",
        Some(Event::InterimResult(_)) => "interim result",
        Some(Event::Heartbeat(_) | Event::PartialResult(_) | Event::QueueChange(_) | Event::FinalResults(_)) | None => "event of a newer server",
    };
    let percentage = 100.0 * job.progress();
    eprintln!(
        "event {}: {kind}, {}, {percentage:.0}%",
        event.sequence,
        name(job.state())
    );
}

fn has_ended(job: &Job) -> bool {
    matches!(
        job.state(),
        JobState::Succeeded | JobState::Failed | JobState::Cancelled
    )
}

fn name(state: JobState) -> &'static str {
    state.as_str_name().trim_start_matches("JOB_STATE_")
}

/// Returns an error with its status and its machine-readable reason.
pub fn describe(status: &Status) -> String {
    let reason = match status.get_details_error_info() {
        Some(info) => format!(" (reason {})", info.reason),
        None => String::new(),
    };
    format!("{:?}: {}{reason}", status.code(), status.message())
}
