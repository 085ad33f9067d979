// notation's library with a registry without TLS: signs an image, or verifies it by a trust policy.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/notaryproject/notation-core-go/signature/jws"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/dir"
	"github.com/notaryproject/notation-go/registry"
	"github.com/notaryproject/notation-go/signer"
	"github.com/notaryproject/notation-go/verifier"
	"oras.land/oras-go/v2/registry/remote"
)

func repository(name string) (registry.Repository, error) {
	found, err := remote.NewRepository(name)
	if err != nil {
		return nil, err
	}
	found.PlainHTTP = true
	return registry.NewRepository(found), nil
}

// sign takes key, certificates (leaf first, PEM), repository, digest.
func sign(arguments []string) error {
	signing, err := signer.NewGenericSignerFromFiles(arguments[0], arguments[1])
	if err != nil {
		return err
	}
	repo, err := repository(arguments[2])
	if err != nil {
		return err
	}
	_, err = notation.Sign(context.Background(), signing, repo, notation.SignOptions{
		SignerSignOptions: notation.SignerSignOptions{SignatureMediaType: jws.MediaTypeEnvelope},
		ArtifactReference: arguments[2] + "@" + arguments[3],
	})
	return err
}

// verify takes the configuration's folder, repository, digest.
func verify(arguments []string) error {
	dir.UserConfigDir = arguments[0]
	verifying, err := verifier.NewFromConfig()
	if err != nil {
		return err
	}
	repo, err := repository(arguments[1])
	if err != nil {
		return err
	}
	_, _, err = notation.Verify(context.Background(), verifying, repo, notation.VerifyOptions{
		ArtifactReference:    arguments[1] + "@" + arguments[2],
		MaxSignatureAttempts: 10,
	})
	return err
}

func main() {
	does := map[string]func([]string) error{"sign": sign, "verify": verify}
	if err := does[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
