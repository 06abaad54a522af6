# Who may assume the roles. A repository's tokens have one of two forms of the subject: with its name alone, or with the
# numbers of owner and repository too, which no later owner of the name can have.

locals {
  subjects = { for name, it in var.namespaces : name => flatten([
    for repository in coalesce(it.repositories, [{ name = name, owner_id = null, id = null }]) : concat(
      ["repo:${repository.name}"],
      repository.id == null ? [] : [
        "repo:${split("/", repository.name)[0]}@${repository.owner_id}/${split("/", repository.name)[1]}@${repository.id}",
      ],
    )
  ]) }

  trusted_trust = { for name, it in var.namespaces : name => concat(
    [{
      Sid = "TrustedRefs"
      Condition = { StringEquals = merge(
        {
          "${local.issuer}:aud" = local.audience
          "${local.issuer}:sub" = concat(
            [for pair in setproduct(local.subjects[name], it.trusted_refs) : "${pair[0]}:ref:${pair[1]}"],
            it.more_trusted_subjects,
          )
        },
        local.workflows[name],
      ) }
    }],
    length(it.trusted_environments) == 0 ? [] : [{
      Sid       = "TrustedEnvironments"
      Condition = { StringEquals = merge(local.of_trusted_refs[name], { "${local.issuer}:sub" = local.environments[name].trusted }) }
    }],
    !it.merge_queue ? [] : [{
      Sid = "MergeQueue"
      Condition = {
        StringEquals = { "${local.issuer}:aud" = local.audience }
        StringLike = { "${local.issuer}:sub" = [for pair in setproduct(local.subjects[name], it.trusted_refs) :
          "${pair[0]}:ref:refs/heads/gh-readonly-queue/${trimprefix(pair[1], "refs/heads/")}/pr-*" if startswith(pair[1], "refs/heads/")
        ] }
      }
    }],
  ) }

  workflows = { for name, it in var.namespaces : name =>
    length(it.trusted_workflows) == 0 ? {} : { "${local.issuer}:job_workflow_ref" = it.trusted_workflows }
  }

  # The subject of a job with an environment does not tell its ref.
  of_trusted_refs = { for name, it in var.namespaces : name => merge(
    {
      "${local.issuer}:aud" = local.audience
      "${local.issuer}:ref" = it.trusted_refs
    },
    local.workflows[name],
  ) }

  environments = { for name, it in var.namespaces : name => {
    for role, those in { trusted = it.trusted_environments, deploy = it.deploy_environments } : role => [
      for pair in setproduct(local.subjects[name], those) : "${pair[0]}:environment:${replace(pair[1], ":", "%3A")}"
    ]
  } }

  # A role that nobody can assume is not made.
  deploy_trust = { for name, it in var.namespaces : name => [{
    Sid = "DeployEnvironments"
    Condition = { StringEquals = merge(
      local.of_trusted_refs[name],
      { "${local.issuer}:sub" = concat(local.environments[name].deploy, it.more_deploy_subjects) },
    ) }
  }] if length(concat(it.deploy_environments, it.more_deploy_subjects)) > 0 }

  untrusted_trust = { for name, it in var.namespaces : name => [{
    Sid = "PullRequestsBranchesAndTags"
    Condition = {
      StringEquals = { "${local.issuer}:aud" = local.audience }
      StringLike = { "${local.issuer}:sub" = concat(
        [for pair in setproduct(local.subjects[name], ["pull_request", "ref:refs/heads/*", "ref:refs/tags/*"]) : "${pair[0]}:${pair[1]}"],
        it.more_untrusted_subjects,
      ) }
    }
  }] }

  trust = { for role, statements in { trusted = local.trusted_trust, untrusted = local.untrusted_trust, deploy = local.deploy_trust } :
    role => { for name, those in statements : name => jsonencode({
      Version = "2012-10-17"
      Statement = [for statement in those : merge(statement, {
        Effect    = "Allow"
        Principal = { Federated = var.oidc_provider_arn }
        Action    = "sts:AssumeRoleWithWebIdentity"
      })]
    }) }
  }
}
