terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.81, < 7.0" # the first one that asks for no thumbprints of an OIDC provider
    }
  }
}
