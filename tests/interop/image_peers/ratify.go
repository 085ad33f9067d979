// Ratify's own reading of cosign trust policies: which of them speaks for an image.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/ratify-project/ratify/pkg/verifier/cosign"
)

func main() {
	var configs []cosign.TrustPolicyConfig
	data, err := os.ReadFile(os.Args[1])
	if err == nil {
		err = json.Unmarshal(data, &configs)
	}
	var policies *cosign.TrustPolicies
	if err == nil {
		policies, err = cosign.CreateTrustPolicies(configs, "peer")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, image := range os.Args[2:] {
		found, err := policies.GetScopedPolicy(image)
		if err != nil {
			fmt.Println("-")
		} else {
			fmt.Println(found.GetName())
		}
	}
}
