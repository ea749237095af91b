package main

import (
	"context"

	gcp "cloud.google.com/go/kms/apiv1"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/hashicorp/vault/api"
)

// clouds make the SDKs' clients, with the credentials of each SDK's default chain: its
// own variables of the environment, files and metadata servers.
type clouds struct {
	aws   func(ctx context.Context, region string) (*kms.Client, error) // region "": the environment's
	gcp   func(ctx context.Context) (*gcp.KeyManagementClient, error)
	azure func(host string) (*azkeys.Client, error)
	hashi func(address string) (*api.Client, error) // address "": the environment's
}

func realClouds() clouds {
	return clouds{
		aws: func(ctx context.Context, region string) (*kms.Client, error) {
			var opts []func(*config.LoadOptions) error
			if region != "" {
				opts = append(opts, config.WithRegion(region))
			}
			cfg, err := config.LoadDefaultConfig(ctx, opts...)
			if err != nil {
				return nil, err
			}
			return kms.NewFromConfig(cfg), nil
		},
		gcp: func(ctx context.Context) (*gcp.KeyManagementClient, error) {
			// The client lives as long as the process, and not only as the call that
			// needed it first.
			return gcp.NewKeyManagementClient(context.WithoutCancel(ctx))
		},
		azure: func(host string) (*azkeys.Client, error) {
			credential, err := azidentity.NewDefaultAzureCredential(nil)
			if err != nil {
				return nil, err
			}
			return azkeys.NewClient("https://"+host, credential, nil)
		},
		hashi: func(address string) (*api.Client, error) {
			cfg := api.DefaultConfig() // VAULT_ADDR, VAULT_CACERT and so on
			if cfg.Error != nil {
				return nil, cfg.Error
			}
			if address != "" {
				cfg.Address = address
			}
			return api.NewClient(cfg) // VAULT_TOKEN
		},
	}
}
