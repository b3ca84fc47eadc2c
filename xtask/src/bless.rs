//! `cargo xtask bless`: runs goldens/make.py in a virtual environment with the versions pinned there.

use std::path::Path;

use anyhow::Result;

use crate::call;

/// Python packages and their versions, beside the script.
const REQUIREMENTS: &str = "goldens/requirements.txt";
const SCRIPT: &str = "goldens/make.py";
const ENVIRONMENT: &str = "target/goldens-venv";

/// Which goldens to make.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Folders of goldens/; all of them without a name.
    names: Vec<String>,
}

/// Makes the goldens anew; the difference is reviewed like code.
pub fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    if !root.join(ENVIRONMENT).is_dir() {
        call(root, &format!("python3 -m venv {ENVIRONMENT}"), &[])?;
    }
    call(root, &format!("{ENVIRONMENT}/bin/pip install --quiet --requirement {REQUIREMENTS}"), &[])?;
    call(root, &format!("{ENVIRONMENT}/bin/python {SCRIPT} {}", arguments.names.join(" ")), &[])?;
    call(root, "git status --short goldens", &[])
}
