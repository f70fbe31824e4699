//! Daydream's own clients, unmodified, and a tester that knows nothing but the OpenAPI document.

use tests::browser::Outcome;
use tests::clients::{run_node, run_python};
use tests::host::Host;
use tests::libraries::library;

const TOKEN: &str = "a-token-of-the-tests";

/// A server with all plugins that Daydream's clients need.
fn host(settings: &[(&str, String)]) -> Host {
    let plugins = ["sd15", "sdxl", "controlnet", "ip-adapter", "processors"];
    Host::start_with(&plugins.map(library), settings)
}

/// Every check passed.
#[track_caller]
fn check(client: &str, outcome: &Outcome) {
    let lines = || outcome.output.lines();
    let failures: Vec<_> = lines().filter(|line| line.starts_with("FAIL")).collect();
    assert!(failures.is_empty(), "{client}: {failures:#?}");
    let passed = lines().filter(|line| line.starts_with("PASS")).count();
    assert!(passed >= 80, "{client} ended early: {}", outcome.output);
}

fn typescript(folder: &str, settings: &[(&str, String)]) {
    check(folder, &run_node(folder, settings));
}

fn python(settings: &[(&str, String)]) {
    check("sdk-py", &run_python("sdk-py", &["conformance.py"], settings));
}

#[test]
fn the_typescript_and_python_clients_work_unmodified() {
    let host = host(&[]);
    let settings = [("BASE_URL", host.url("/"))];
    typescript("sdk-ts", &settings);
    typescript("sdk-ts-zod3", &settings);
    python(&settings);
    assert_eq!(host.get("/health").json()["active_streams"], 0, "they delete what they create");
}

#[test]
fn they_work_with_a_token_and_are_told_when_it_is_wrong() {
    let host = host(&[("SDH_HTTP__TOKEN", TOKEN.into())]);
    let settings =
        [("BASE_URL", host.url("/")), ("TOKEN", TOKEN.into()), ("AUTH_REQUIRED", "1".into())];
    typescript("sdk-ts", &settings);
    typescript("sdk-ts-zod3", &settings);
    python(&settings);
}

/// Bounded, and the same at every run.
#[test]
fn whatever_the_openapi_document_allows_or_forbids_is_answered_as_it_says() {
    let host = Host::start(&[library("passthrough"), library("sd15")]);
    let document = host.url("/openapi.json");
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,\
                  response_headers_conformance,response_schema_conformance";
    let run = ["-m", "schemathesis.cli", "run", document.as_str()];
    let arguments = [
        run.as_slice(),
        &["--checks", checks, "--phases", "examples,coverage,fuzzing", "--max-examples", "10"],
        &["--generation-deterministic", "--no-shrink"],
        &["--continue-on-failure", "--request-timeout", "20", "--suppress-health-check", "all"],
        &["--warnings", "off", "--no-color"],
    ];
    let settings = [("SCHEMATHESIS_HOOKS", "openapi_hooks".to_owned())];
    let outcome = run_python("sdk-py", &arguments.concat(), &settings);
    assert!(outcome.is_success, "{}", outcome.output);
    assert_eq!(host.get("/health").status, 200, "the server goes on");
}
