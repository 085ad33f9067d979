//! Verifies and signs an RPM: `rpmpeer verify FILE KEY`, `rpmpeer sign FILE SECRET OUT`.

use rpm::signature::pgp::{Signer, Verifier};

fn run(words: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let mut package = rpm::Package::open(&words[1])?;
    if words[0] == "verify" {
        package.verify_digests()?;
        package.verify_signature(Verifier::from_asc_file(&words[2])?)?;
    } else {
        package.sign(Signer::from_asc_file(&words[2])?)?;
        package.write_file(&words[3])?;
    }
    Ok(())
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Err(error) = run(&words) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
