//! Every dependency has a licence that lets anyone use what we build.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use spdx::{Expression, LicenseItem, LicenseReq, ParseMode};

use super::{Tree, Violation, rules, rules::Rules};

/// A package that the workspace depends on, directly or not, on any platform.
#[derive(Clone, Debug)]
pub struct Package {
    pub name: String,
    pub version: String,
    /// SPDX expression.
    pub licence: Option<String>,
}

/// Asks cargo for all packages that are not ours.
pub fn packages(root: &Path) -> Result<Vec<Package>> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version=1", "--quiet"])
        .current_dir(root)
        .output()
        .context("cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("cargo metadata: no packages")?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let package = |package: &Value| Package {
        name: text(&package["name"]).unwrap_or_default(),
        version: text(&package["version"]).unwrap_or_default(),
        licence: text(&package["license"]),
    };
    // Packages without a source are members of the workspace.
    Ok(packages.iter().filter(|found| !found["source"].is_null()).map(package).collect())
}

/// Reports dependencies under other licences.
pub fn check(tree: &Tree, rules: &Rules, out: &mut Vec<Violation>) {
    for Package { name, version, licence } in &tree.packages {
        let found = licence.as_deref().unwrap_or("none");
        if rules.other_licences.get(name).is_some_and(|other| other == found) {
            continue;
        }
        let expression = Expression::parse_mode(found, ParseMode::LAX);
        if !expression.is_ok_and(|expression| expression.evaluate(|licence| is_allowed(licence, rules))) {
            let expected = rules.licences.join(", ");
            out.push(Violation::new(
                "Cargo.lock",
                1,
                format!("licence of {name} {version}"),
                found,
                expected,
            ));
        }
    }
    for name in rules.other_licences.keys() {
        if !tree.packages.iter().any(|package| package.name == *name) {
            let found = format!("{name}, which is no dependency");
            out.push(Violation::new(rules::FILE, 1, "other licences", found, "only what is needed"));
        }
    }
}

fn is_allowed(requirement: &LicenseReq, rules: &Rules) -> bool {
    match &requirement.license {
        LicenseItem::Spdx { id, .. } => rules.licences.iter().any(|licence| licence == id.name),
        LicenseItem::Other { .. } => false,
    }
}
