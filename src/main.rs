//! The program: flags → [`Config`] → [`app::run`] → exit code.
//!
//! Exit codes: 0 done, 1 failed, 2 the command line or the configuration is wrong.

use std::io;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use slotcar::app;
use slotcar::config::{self, CommandLine, Config, Environment, LogFormat, Task};

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let config = match config::resolve(&line.flags, &Environment::of_process()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("slotcar: {error}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    start_log(&config);
    match perform(line.task(), config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task, config: Config) -> Result<()> {
    match task {
        Task::Run => app::run(config),
        Task::Check => bail!("`slotcar check` is not in this version yet"),
        Task::Explain { .. } => bail!("`slotcar explain` is not in this version yet"),
    }
}

fn start_log(config: &Config) {
    match config.log_format {
        LogFormat::Human => tracing_subscriber::fmt()
            .with_writer(io::stderr)
            .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
            .with_max_level(config.log_level)
            .init(),
    }
}

/// As clap exits when it cannot read the command line.
const BAD_CONFIGURATION: u8 = 2;
