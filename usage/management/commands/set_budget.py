from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models.functions import Now

from spool.access.models import ApiKey
from spool.usage.budgets import Payer, standings
from spool.usage.models import Budget


class Command(BaseCommand):
    help = "Set how much an owner or an API key may use; without an amount, show it."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        whose = parser.add_mutually_exclusive_group(required=True)
        whose.add_argument("--owner")
        whose.add_argument("--key", metavar="PREFIX", help="the prefix of the API key")
        parser.add_argument("--per", choices=Budget.Period.values, default="month")
        amount = parser.add_mutually_exclusive_group()
        amount.add_argument("--tokens", type=_amount, metavar="NUMBER")
        amount.add_argument("--money", type=_amount, metavar="AMOUNT")
        amount.add_argument(
            "--remove", choices=Budget.Unit.values, help="remove the budget"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        whose: dict[str, Any] = {"owner": options["owner"] or "", "api_key_id": None}
        if options["key"]:
            whose["api_key_id"] = _key(options["key"]).pk
        for unit in Budget.Unit.values:
            of_unit = {**whose, "period": options["per"], "unit": unit}
            if options["remove"] == unit:
                Budget.objects.filter(**of_unit).delete()
            elif (limit := options[unit]) is not None:
                now = {"limit": limit, "updated_at": Now()}
                Budget.objects.update_or_create(**of_unit, defaults=now)
        found = standings(Payer(whose["owner"], whose["api_key_id"]))
        for standing in found:
            self.stdout.write(str(standing))
        if not found:
            self.stdout.write("no budgets")


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or not 0 <= amount < 10**18:
        raise ArgumentTypeError(f"{text!r} is not an amount")
    return amount


def _key(prefix: str) -> ApiKey:
    keys = list(ApiKey.objects.filter(prefix__startswith=prefix)[:2])
    if len(keys) != 1:
        found = "several API keys begin" if keys else "no API key begins"
        raise CommandError(f"{found} with {prefix!r}")
    return keys[0]
