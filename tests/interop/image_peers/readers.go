// What reads policy.json and trust policies for a living, asked what it makes of ours: podman's and
// skopeo's library (which also judges an image in a registry) and notation's.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
)

func readTrustPolicy(data []byte) error {
	var document trustpolicy.Document
	if err := json.Unmarshal(data, &document); err != nil {
		return err
	}
	return document.Validate()
}

// judge asks whether the policy lets an image of a registry without TLS run.
func judge(policy *signature.Policy, registries string, reference string) error {
	ctx := context.Background()
	system := &types.SystemContext{
		RegistriesDirPath:           registries,
		DockerInsecureSkipTLSVerify: types.OptionalBoolTrue,
	}
	parsed, err := docker.ParseReference("//" + reference)
	if err != nil {
		return err
	}
	source, err := parsed.NewImageSource(ctx, system)
	if err != nil {
		return err
	}
	defer source.Close()
	judging, err := signature.NewPolicyContext(policy)
	if err != nil {
		return err
	}
	defer judging.Destroy()
	allowed, err := judging.IsRunningImageAllowed(ctx, image.UnparsedInstance(source, nil))
	if err == nil && !allowed {
		err = fmt.Errorf("not allowed")
	}
	return err
}

func run(arguments []string) error {
	data, err := os.ReadFile(arguments[1])
	if err != nil || arguments[0] == "trustpolicy.json" {
		if err == nil {
			err = readTrustPolicy(data)
		}
		return err
	}
	policy, err := signature.NewPolicyFromBytes(data)
	if err == nil && len(arguments) == 4 {
		err = judge(policy, arguments[2], arguments[3])
	}
	return err
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
