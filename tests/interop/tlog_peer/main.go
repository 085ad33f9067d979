// A second opinion on transparency logs: golang.org/x/mod/sumdb/{note,tlog} and
// filippo.io/torchwood read what Signward writes, and write what Signward reads.
//
//	peer follow URL KEY OLD-SIZE INDEX...   fetch checkpoint, tiles and entries; check them all
//	peer receipt KEY RECEIPT ENTRY          check a c2sp.org/tlog-proof
//	peer prove URL KEY INDEX                write one
//	peer cosign NAME SEED-HEX               cosign the checkpoint on standard input
package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Inclusion is what was found of one entry.
type Inclusion struct {
	Index int64
	Leaf  string
	Proof []string
}

// Followed is what was found of the whole log.
type Followed struct {
	Origin      string
	Size        int64
	Root        string
	Entries     int64
	Digest      string // SHA-256 over every entry after its length, 8 octets
	Consistency []string
	OldRoot     string
	Inclusions  []Inclusion
}

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("no command"))
	}
	commands := map[string]func([]string) error{
		"follow": follow, "receipt": receipt, "prove": prove, "cosign": cosign,
	}
	command := commands[os.Args[1]]
	if command == nil {
		fail(fmt.Errorf("unknown command %q", os.Args[1]))
	}
	if err := command(os.Args[2:]); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// opened is a log whose latest checkpoint was checked with its key.
type opened struct {
	fetcher *torchwood.TileFetcher
	client  *torchwood.Client
	signed  []byte
	head    torchwood.Checkpoint
	hashes  tlog.HashReader
}

func open(url, key string) (*opened, error) {
	fetcher, err := torchwood.NewTileFetcher(url, torchwood.WithConcurrencyLimit(4))
	if err != nil {
		return nil, err
	}
	client, err := torchwood.NewClient(fetcher)
	if err != nil {
		return nil, err
	}
	signed, err := fetcher.ReadEndpoint(context.Background(), "checkpoint")
	if err != nil {
		return nil, err
	}
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return nil, err
	}
	text, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return nil, err
	}
	head, err := torchwood.ParseCheckpoint(text.Text)
	if err != nil {
		return nil, err
	}
	if head.Origin != verifier.Name() {
		return nil, fmt.Errorf("origin %q", head.Origin)
	}
	hashes := torchwood.TileHashReaderWithContext(context.Background(), head.Tree, fetcher)
	return &opened{fetcher, client, signed, head, hashes}, nil
}

func follow(args []string) error {
	log, err := open(args[0], args[1])
	if err != nil {
		return err
	}
	old, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil {
		return err
	}
	found := Followed{Origin: log.head.Origin, Size: log.head.N, Root: text(log.head.Hash)}
	if err := log.readAll(&found); err != nil {
		return err
	}
	if err := log.compare(old, &found); err != nil {
		return err
	}
	for _, arg := range args[3:] {
		index, err := strconv.ParseInt(arg, 10, 64)
		if err != nil {
			return err
		}
		entry, proof, err := log.client.Entry(context.Background(), log.head.Tree, index)
		if err != nil {
			return err
		}
		leaf := tlog.RecordHash(entry)
		found.Inclusions = append(found.Inclusions, Inclusion{index, text(leaf), texts(proof)})
	}
	return json.NewEncoder(os.Stdout).Encode(found)
}

// readAll re-hashes every entry against authenticated tiles.
func (log *opened) readAll(found *Followed) error {
	digest := sha256.New()
	for _, entry := range log.client.AllEntries(context.Background(), log.head.Tree, 0) {
		fmt.Fprintf(digest, "%08d", len(entry))
		digest.Write(entry)
		found.Entries++
	}
	found.Digest = hex.EncodeToString(digest.Sum(nil))
	return log.client.Err()
}

// compare proves that the log began with the tree it had when it was smaller.
func (log *opened) compare(old int64, found *Followed) error {
	root, err := tlog.TreeHash(old, log.hashes)
	if err != nil {
		return err
	}
	found.OldRoot = text(root)
	proof, err := tlog.ProveTree(log.head.N, old, log.hashes)
	if err != nil {
		return err
	}
	found.Consistency = texts(proof)
	return tlog.CheckTree(proof, log.head.N, log.head.Hash, old, root)
}

func policy(key string) (torchwood.Policy, error) {
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return nil, err
	}
	one := torchwood.SingleVerifierPolicy(verifier)
	return torchwood.ThresholdPolicy(2, one, torchwood.OriginPolicy(verifier.Name())), nil
}

func receipt(args []string) error {
	wanted, err := policy(args[0])
	if err != nil {
		return err
	}
	proof, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	entry, err := os.ReadFile(args[2])
	if err != nil {
		return err
	}
	return torchwood.VerifyProof(wanted, tlog.RecordHash(entry), proof)
}

func prove(args []string) error {
	log, err := open(args[0], args[1])
	if err != nil {
		return err
	}
	index, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil {
		return err
	}
	entry, proof, err := log.client.Entry(context.Background(), log.head.Tree, index)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(torchwood.FormatProofWithExtraData(index, entry, proof, log.signed))
	return err
}

func cosign(args []string) error {
	seed, err := hex.DecodeString(args[1])
	if err != nil {
		return err
	}
	signer, err := torchwood.NewCosignatureSigner(args[0], ed25519.NewKeyFromSeed(seed))
	if err != nil {
		return err
	}
	data, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	// Nobody's signature is checked here: a witness of the tests signs what it is given.
	_, err = note.Open(data, note.VerifierList())
	unverified, ok := err.(*note.UnverifiedNoteError)
	if !ok {
		return fmt.Errorf("unexpected answer: %v", err)
	}
	signed, err := note.Sign(unverified.Note, signer)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, signer.Verifier())
	_, err = os.Stdout.Write(signed)
	return err
}

func text(hash tlog.Hash) string { return hex.EncodeToString(hash[:]) }

func texts[H ~[]tlog.Hash](hashes H) []string {
	found := []string{}
	for _, hash := range hashes {
		found = append(found, text(hash))
	}
	return found
}
