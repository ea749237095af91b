package main

import (
	"context"
	"strings"

	"github.com/spf13/pflag"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/awskms"
)

type awsFlags struct{ omitPairs bool }

func (f *awsFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.omitPairs, "aws-omit-pairs", false, "wrap without the key context's pairs in CloudTrail, as the application does with Options.OmitPairs")
}

// awsKEK opens aws-kms:// and a key's ARN. An ARN without a Region is a multi-Region
// key's, whose replica in the environment's Region is used.
func (a *app) awsKEK(uri string) (func(context.Context) (kek.Wrapper, error), error) {
	arn := strings.TrimPrefix(uri, "aws-kms://")
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[2] != "kms" || !strings.HasPrefix(parts[5], "key/") {
		return nil, usage("the KEK %q is not aws-kms:// and the ARN of a key", uri)
	}
	region := parts[3]
	o := awskms.Options{OmitPairs: a.flags.aws.omitPairs, AnyRegion: region == ""}
	return func(ctx context.Context) (kek.Wrapper, error) {
		client, err := a.clouds.aws(ctx, region)
		if err != nil {
			return nil, err
		}
		key := arn
		if o.AnyRegion {
			key = strings.TrimPrefix(parts[5], "key/")
		}
		return awskms.New(ctx, client, key, o)
	}, nil
}
