# What the example does not show, and what is refused.

variables {
  bucket            = "models"
  oidc_provider_arn = "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com"
}

run "a_repository_alone_needs_only_its_name" {
  command = plan
  variables {
    namespaces = { "acme/fraud" = {} }
  }
  assert {
    condition = jsondecode(output.trust.trusted["acme/fraud"]).Statement[0].Condition.StringEquals == {
      "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com"
      "token.actions.githubusercontent.com:sub" = ["repo:acme/fraud:ref:refs/heads/main"]
    }
    error_message = "The trusted role is for the default branch of the repository."
  }
  assert {
    condition     = strcontains(output.permissions.trusted["acme/fraud"], "arn:aws:s3:::models/v1/trusted/acme/fraud/*")
    error_message = "Without a prefix the keys begin at the bucket's root."
  }
}

run "environments_are_bound_to_the_trusted_refs" {
  command = plan
  variables {
    namespaces = { "acme/fraud" = { trusted_environments = ["prod:eu"], trusted_workflows = ["acme/fraud/.github/workflows/train.yml@refs/heads/main"] } }
  }
  assert {
    condition = jsondecode(output.trust.trusted["acme/fraud"]).Statement[1].Condition.StringEquals == {
      "token.actions.githubusercontent.com:aud"              = "sts.amazonaws.com"
      "token.actions.githubusercontent.com:job_workflow_ref" = ["acme/fraud/.github/workflows/train.yml@refs/heads/main"]
      "token.actions.githubusercontent.com:ref"              = ["refs/heads/main"]
      "token.actions.githubusercontent.com:sub"              = ["repo:acme/fraud:environment:prod%3Aeu"]
    }
    error_message = "An environment's subject does not tell the ref, so the ref is asked for, and the workflow too."
  }
}

run "deploying_needs_an_environment_and_the_trusted_refs" {
  command = plan
  variables {
    namespaces = { "acme/fraud" = {
      deploy_environments  = ["prod:eu"]
      more_deploy_subjects = ["acme:fraud:production"]
      trusted_workflows    = ["acme/fraud/.github/workflows/train.yml@refs/heads/main"]
    } }
  }
  assert {
    condition = [for it in jsondecode(output.trust.deploy["acme/fraud"]).Statement : it.Condition] == [{ StringEquals = {
      "token.actions.githubusercontent.com:aud"              = "sts.amazonaws.com"
      "token.actions.githubusercontent.com:job_workflow_ref" = ["acme/fraud/.github/workflows/train.yml@refs/heads/main"]
      "token.actions.githubusercontent.com:ref"              = ["refs/heads/main"]
      "token.actions.githubusercontent.com:sub"              = ["repo:acme/fraud:environment:prod%3Aeu", "acme:fraud:production"]
    } }]
    error_message = "Jobs with the environment, for the trusted refs, and nobody else."
  }
  assert {
    condition     = [for it in jsondecode(output.trust.trusted["acme/fraud"]).Statement : it.Sid] == ["TrustedRefs"]
    error_message = "An environment that deploys is not thereby trusted."
  }
}

run "without_environments_there_is_no_role_that_deploys" {
  command = plan
  variables {
    namespaces = { "acme/fraud" = { trusted_environments = ["training"] }, "acme/other" = { deploy_environments = ["production"] } }
  }
  assert {
    condition     = keys(output.trust.deploy) == ["acme/other"] && keys(output.permissions.deploy) == ["acme/other"]
    error_message = "A role that nobody can assume is not made."
  }
}

run "deploying_only_reads_and_promotion_does_not_change_that" {
  command = plan
  variables {
    kms_key_arn = "arn:aws:kms:eu-central-1:111122223333:key/1"
    namespaces  = { "acme/fraud" = { deploy_environments = ["production"], promote = true, reads = ["acme/training"] } }
  }
  assert {
    condition = [for it in jsondecode(output.permissions.deploy["acme/fraud"]).Statement : [it.Sid, it.Effect, it.Action]] == [
      ["Read", "Allow", "s3:GetObject"],
      ["TellMissingFromForbidden", "Allow", "s3:ListBucket"],
      ["OnlyTls", "Deny", "s3:*"],
      ["NoCustomerKeys", "Deny", "s3:PutObject"],
      ["NoOtherKmsKeys", "Deny", "s3:PutObject"],
      ["NoOtherStorageClasses", "Deny", "s3:PutObject"],
      ["UseKey", "Allow", ["kms:Decrypt"]],
    ]
    error_message = "Nothing is written, and the key only decrypts."
  }
  assert {
    condition = jsondecode(output.permissions.deploy["acme/fraud"]).Statement[0].Resource == [
      "arn:aws:s3:::models/v1/blobs/*",
      "arn:aws:s3:::models/v1/manifests/*",
      "arn:aws:s3:::models/v1/inputs/*",
      "arn:aws:s3:::models/v1/trusted/acme/fraud/*",
      "arn:aws:s3:::models/v1/trusted/acme/training/*",
    ]
    error_message = "Trusted pointers and content."
  }
}

run "a_merge_queue_is_only_trusted_when_it_is_named" {
  command = plan
  variables {
    namespaces = { "acme/fraud" = { merge_queue = true } }
  }
  assert {
    condition     = jsondecode(output.trust.trusted["acme/fraud"]).Statement[1].Condition.StringLike == { "token.actions.githubusercontent.com:sub" = ["repo:acme/fraud:ref:refs/heads/gh-readonly-queue/main/pr-*"] }
    error_message = "The queue of the trusted branch alone."
  }
}

run "promotion_reads_pull_requests_and_nothing_else_that_is_untrusted" {
  command = plan
  variables {
    namespaces = { "acme/fraud" = { promote = true } }
  }
  assert {
    condition = jsondecode(output.permissions.trusted["acme/fraud"]).Statement[0].Resource == [
      "arn:aws:s3:::models/v1/blobs/*",
      "arn:aws:s3:::models/v1/manifests/*",
      "arn:aws:s3:::models/v1/inputs/*",
      "arn:aws:s3:::models/v1/trusted/acme/fraud/*",
      "arn:aws:s3:::models/v1/untrusted/acme/fraud/pr%2F*",
    ]
    error_message = "The trusted role reads the pointers of pull requests."
  }
  assert {
    condition     = [for it in jsondecode(output.permissions.trusted["acme/fraud"]).Statement : it.Resource if it.Sid == "WritePointers"] == ["arn:aws:s3:::models/v1/trusted/acme/fraud/*"]
    error_message = "It still writes trusted ones only."
  }
}

run "a_namespace_of_two_repositories" {
  command = plan
  variables {
    namespaces = { "acme/shared" = { repositories = [{ name = "acme/a" }, { name = "acme/b", owner_id = 1, id = 2 }] } }
  }
  assert {
    condition = jsondecode(output.trust.trusted["acme/shared"]).Statement[0].Condition.StringEquals["token.actions.githubusercontent.com:sub"] == [
      "repo:acme/a:ref:refs/heads/main", "repo:acme/b:ref:refs/heads/main", "repo:acme@1/b@2:ref:refs/heads/main"
    ]
    error_message = "Every repository in every form that is known."
  }
}

run "another_partition_and_a_key" {
  command = plan
  variables {
    oidc_provider_arn = "arn:aws-cn:iam::111122223333:oidc-provider/github.example.com/_services/token"
    kms_key_arn       = "arn:aws-cn:kms:cn-north-1:111122223333:key/1"
    restrict_listing  = false
    namespaces        = { "acme/fraud" = {} }
  }
  assert {
    condition = jsondecode(output.trust.trusted["acme/fraud"]).Statement[0].Condition.StringEquals == {
      "github.example.com/_services/token:aud" = "sts.amazonaws.com.cn"
      "github.example.com/_services/token:sub" = ["repo:acme/fraud:ref:refs/heads/main"]
    }
    error_message = "Issuer, audience and partition follow from the provider's ARN."
  }
  assert {
    condition = [for it in jsondecode(output.permissions.trusted["acme/fraud"]).Statement : [it.Resource, it.Action] if it.Sid == "UseKey"] == [
      ["arn:aws-cn:kms:cn-north-1:111122223333:key/1", ["kms:Decrypt", "kms:GenerateDataKey"]]
    ]
    error_message = "The key is allowed where there is one."
  }
  assert {
    condition     = [for it in jsondecode(output.permissions.trusted["acme/fraud"]).Statement : try(it.Condition, null) if it.Sid == "TellMissingFromForbidden"] == [null]
    error_message = "The listing is unrestricted where that is wanted."
  }
}

run "a_wildcard_makes_nothing_trusted" {
  command = plan
  variables {
    namespaces = { "acme/fraud" = { trusted_refs = ["refs/heads/*"], trusted_environments = ["*"] } }
  }
  expect_failures = [var.namespaces]
}

run "a_wildcard_deploys_nothing" {
  command = plan
  variables {
    namespaces = { "acme/fraud" = { deploy_environments = ["*"] } }
  }
  expect_failures = [var.namespaces]
}

run "a_namespace_has_two_parts" {
  command = plan
  variables {
    namespaces = { "acme/*" = {} }
  }
  expect_failures = [var.namespaces]
}

run "a_repository_has_both_numbers_or_none" {
  command = plan
  variables {
    namespaces = { "acme/fraud" = { repositories = [{ name = "acme/fraud", id = 1 }] } }
  }
  expect_failures = [var.namespaces]
}

run "a_trust_policy_that_iam_would_refuse" {
  command = plan
  variables {
    namespaces = { "acme/all" = { repositories = [for n in range(40) : { name = "acme/repository-${n}", owner_id = 1, id = n }] } }
  }
  expect_failures = [output.trust]
}
