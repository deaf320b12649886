//! The examples for CI systems do what they say: the commands that stand in them, run as the systems would.

mod common;

use std::fs;
use std::path::Path;

use common::{Done, FAILS, PASSES, Place, User, root};
use serde_json::Value;

/// An example, which may have several documents.
fn example(name: &str) -> Vec<Value> {
    let text = fs::read_to_string(root().join("docs/ci").join(name)).unwrap();
    let documents = text.split("\n---\n");
    documents.map(|text| serde_saphyr::from_str(text).expect("YAML")).collect()
}

/// What only the system or the network can do.
fn is_elsewhere(command: &str) -> bool {
    ["cargo build", "install target", "sudo "].iter().any(|word| command.starts_with(word))
}

/// Runs a command in a directory as the systems do; it stands for a fresh checkout with the binary in it.
fn shell(place: &Place, directory: &str, command: &str, variables: &[(&str, &str)]) -> Done {
    let binary = place.command(User::Own).get_program().to_owned();
    let bin = Path::new(&binary).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut template = place.command(User::Own);
    template.env("PATH", path).env("CI", "true").envs(variables.iter().copied());
    let mut command_line = std::process::Command::new("sh");
    command_line.args(["-e", "-c", command]).current_dir(place.path().join(directory));
    common::take_environment(&mut command_line, &template);
    Done::of(command_line.output().unwrap())
}

/// Scenarios that pass, one that is skipped, and one that fails or not.
fn scenarios(place: &Place, fails: bool) {
    for name in ["a", "b", "c", "d"] {
        place.write(&format!("scenarios/{name}.yaml"), PASSES);
    }
    place.write("scenarios/e.yaml", &format!("requires: [aufs]\n{PASSES}"));
    place.write("scenarios/f.yaml", if fails { FAILS } else { PASSES });
}

/// The commands of the steps of a job at GitHub, and the variables of the job.
fn steps(job: &Value) -> Vec<String> {
    let steps = job["steps"].as_array().unwrap();
    for step in steps {
        assert!(step["run"].is_string() != step["uses"].is_string(), "{step}");
        if let Some(uses) = step["uses"].as_str() {
            assert!(uses.starts_with("actions/") && uses.contains("@v"), "{uses}");
        }
    }
    let run = steps.iter().filter_map(|step| step["run"].as_str());
    // What somebody chose may not become a part of a command.
    run.inspect(|command| assert!(!command.contains("${{"), "{command}"))
        .filter(|command| !is_elsewhere(command))
        .map(str::to_owned)
        .collect()
}

#[test]
fn github_asks_each_kernel_in_shards_and_judges_the_whole() {
    let workflow = &example("github.yml")[0];
    let jobs = &workflow["jobs"];
    assert_eq!((&jobs["ask"]["needs"], &jobs["judge"]["needs"]), (&"build".into(), &"ask".into()));
    let matrix = &jobs["ask"]["strategy"]["matrix"];
    let shards = matrix["shard"].as_array().unwrap();
    assert_eq!(workflow["env"]["SHARDS"], shards.len());
    let targets = matrix["target"].as_array().unwrap();
    let named: Vec<_> = targets.iter().map(|target| target["on"].as_str().unwrap()).collect();
    let judge = steps(&jobs["judge"]).join("\n");
    assert!(judge.contains(&format!("--on {} ", named.join(","))), "{judge}");
    for (fails, lost, code) in [(false, None, 0), (true, None, 1), (false, Some("2"), 5)] {
        let place = Place::new();
        scenarios(&place, fails);
        let mut failed = 0;
        for (job, shard) in shards.iter().enumerate() {
            let shard = shard.to_string();
            let variables = [("TARGET", "host"), ("SUITE", ""), ("SHARD", &shard), ("SHARDS", "4")];
            for command in steps(&jobs["ask"]) {
                let done = shell(&place, "", &command, &variables);
                assert!(matches!(done.code, Some(0 | 1)), "{command}: {done:?}");
                failed += i32::from(done.code == Some(1));
            }
            if lost != Some(&*shard) {
                let from = format!("report-{shard}.json");
                let to = format!("reports/report-{job}/{from}");
                place.write(&to, &place.read(&from));
            }
        }
        assert_eq!(failed, i32::from(fails));
        // Only this kernel is sure to be there.
        let judge = judge.replace(&named.join(","), "host");
        let done = shell(&place, "", &judge, &[]).expect_code(code);
        assert_eq!(done.stdout.contains("no report has shard 2/4 of host"), lost.is_some());
        assert!(place.read("report.xml").contains("<testsuite name=\"host\""));
        assert!(place.exists("report.json"));
    }
}

#[test]
fn gitlab_asks_in_shards_and_shows_the_whole() {
    let pipeline = &example("gitlab.yml")[0];
    let stages: Vec<_> = pipeline["stages"].as_array().unwrap().iter().collect();
    let of = pipeline["ask"]["parallel"].as_u64().unwrap();
    for job in ["build", "ask", "judge"] {
        assert!(stages.contains(&&pipeline[job]["stage"]), "{job}");
        assert!(pipeline[job]["image"].is_string(), "{job}");
    }
    let commands = |job: &str| -> Vec<String> {
        let script = pipeline[job]["script"].as_array().unwrap();
        let script = script.iter().map(|line| line.as_str().unwrap().to_owned());
        script.filter(|command| !is_elsewhere(command)).collect()
    };
    assert_eq!(pipeline["judge"]["artifacts"]["reports"]["junit"], "report.xml");
    for (fails, code) in [(false, 0), (true, 1)] {
        let place = Place::new();
        scenarios(&place, fails);
        for index in 1..=of {
            let (index, of) = (index.to_string(), of.to_string());
            let variables = [("CI_NODE_INDEX", &*index), ("CI_NODE_TOTAL", &*of)];
            for command in commands("ask") {
                let done = shell(&place, "", &command, &variables);
                assert!(matches!(done.code, Some(0 | 1)), "{command}: {done:?}");
            }
        }
        for command in commands("judge") {
            shell(&place, "", &command, &[]).expect_code(code);
        }
        assert!(place.exists("report.xml") && place.exists("whole.json"));
    }
}

/// The script of the only container of a job of Kubernetes, and its variables.
fn container(job: &Value) -> (&str, Vec<(&str, &str)>) {
    assert_eq!((&job["apiVersion"], &job["kind"]), (&"batch/v1".into(), &"Job".into()));
    let containers = job["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1);
    let command = containers[0]["command"].as_array().unwrap();
    assert_eq!((&command[0], &command[1]), (&"sh".into(), &"-c".into()));
    let variables = containers[0]["env"].as_array().unwrap().iter();
    let variables = variables
        .map(|one| (one["name"].as_str().unwrap(), one["value"].as_str().unwrap()))
        .collect();
    (command[2].as_str().unwrap(), variables)
}

#[test]
fn kubernetes_counts_from_0_and_the_judge_waits_for_all() {
    let jobs = example("kubernetes.yaml");
    let spec = &jobs[0]["spec"];
    assert_eq!(spec["completionMode"], "Indexed");
    let of = spec["completions"].as_u64().unwrap();
    let (ask, variables) = container(&jobs[0]);
    assert!(variables.contains(&("SHARDS", &of.to_string())));
    let (judge, judges) = container(&jobs[1]);
    assert!(variables.iter().all(|variable| judges.contains(variable)));
    for (fails, pods, code) in [(false, of, 0), (true, of, 1), (false, of - 1, 5)] {
        let place = Place::new();
        scenarios(&place, fails);
        let reports = place.path().join("reports").display().to_string();
        let with = |own: &[(&'static str, &str)]| {
            let variables = [("SHARDS", of.to_string()), ("REPORTS", reports.clone())];
            let own = own.iter().map(|(name, value)| (*name, (*value).to_owned()));
            variables.into_iter().chain(own).collect::<Vec<_>>()
        };
        let run = |script: &str, variables: &[(&str, String)]| {
            let variables: Vec<_> =
                variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
            // Kubernetes runs it without -e.
            shell(&place, "", &format!("set +e\n{script}"), &variables)
        };
        for index in 0..pods {
            run(ask, &with(&[("JOB_COMPLETION_INDEX", &index.to_string())])).expect_code(0);
        }
        let done = run(judge, &with(&[("PATIENCE", "1")])).expect_code(code);
        assert_eq!(done.stdout.contains("no report has shard"), pods < of, "{}", done.stdout);
        assert!(place.exists("reports/report.xml"));
    }
}

#[test]
fn tmt_has_a_test_and_a_plan() {
    let tree = &example("tmt.fmf")[0];
    let test = &tree["/tests/conformance"];
    assert!(test["summary"].is_string() && test["framework"] == "shell");
    let plan = &tree["/plans/conformance"];
    for step in ["discover", "provision", "prepare", "execute"] {
        assert!(plan[step]["how"].is_string(), "{step}");
    }
    for (fails, code) in [(false, 0), (true, 1)] {
        let place = Place::new();
        scenarios(&place, fails);
        place.write("data/.keep", "");
        let data = place.path().join("data").display().to_string();
        shell(&place, "", test["test"].as_str().unwrap(), &[("TMT_TEST_DATA", &data)])
            .expect_code(code);
        assert!(place.exists("data/report.xml") && place.exists("data/report.json"));
    }
}

#[test]
fn each_example_is_named_and_tested() {
    let readme = fs::read_to_string(root().join("docs/ci/README.md")).unwrap();
    let here = fs::read_to_string(root().join("tests/ci.rs")).unwrap();
    for entry in fs::read_dir(root().join("docs/ci")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name == "README.md" {
            continue;
        }
        assert!(readme.contains(&format!("[{name}]({name})")), "{name} is not in the table");
        assert!(here.contains(&format!("example(\"{name}\")")), "{name} is not tested");
    }
}
